"""What sharing a Redis costs: look-ups, writes, memory."""
