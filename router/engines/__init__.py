"""What differs from one inference engine to another."""
