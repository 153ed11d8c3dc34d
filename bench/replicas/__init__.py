"""Several routers before one fleet: what sharing a Redis is worth."""
