"""The worker process: its life, its connections and the three ways of calling an application."""
