"""Chooses a worker: pure, synchronous, with reasons."""
