"""FastAPI: `pip install fastapi`, then `arbiter main:app`."""

import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from pydantic import BaseModel


@asynccontextmanager
async def lifespan(app: FastAPI):
    """What every worker opens before it is ready and closes after its last answer."""
    yield {"greeting": "hello"}


app = FastAPI(title="arbiter example", lifespan=lifespan)


class Order(BaseModel):
    item: str
    count: int = 1


@app.get("/")
async def hello(request: Request) -> dict[str, str | int]:
    return {"says": request.state.greeting, "worker": os.getpid()}


@app.post("/orders")
async def order(order: Order) -> dict[str, str | int]:
    return {"item": order.item, "count": order.count, "worker": os.getpid()}
