"""What an index of millions of blocks costs: memory, lookups, and keeping up with events."""
