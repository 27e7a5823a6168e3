"""The HTTP half against a real node on SQLite, through ASGI."""
