"""What several routers know together, in a Redis."""
