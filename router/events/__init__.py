"""What workers announce about their KV caches."""
