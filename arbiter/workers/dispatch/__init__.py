"""How a complete request reaches the application: `turns` (sync), `pool` (threaded), `tasks` (asgi)."""
