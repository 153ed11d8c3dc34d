"""What the console shows: plain data, taken from what the router counts anyway."""
