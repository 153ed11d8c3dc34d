"""`prefix-router demo`: a small fleet on this machine, the router before it, and what prefix routing gains."""
