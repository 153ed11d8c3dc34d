"""Ten thousand streams through one router: what they hold, cost and wait; and memory over a million requests."""
