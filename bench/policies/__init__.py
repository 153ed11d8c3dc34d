"""What routing gains: policies of our router by turns, before the same two real vLLM workers."""
