"""Flask: `pip install flask`, then `arbiter -k threaded --threads 8 app:app`."""

import os

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def hello():
    return {"says": "hello", "worker": os.getpid()}


@app.post("/orders")
def order():
    asked = request.get_json()
    return {"item": asked["item"], "count": asked.get("count", 1), "worker": os.getpid()}
