"""What a decision costs, and the queue, in our own Python alone."""
