"""What an engine's cache knows a prompt by: its token ids, rendered and counted as the engine does it."""
