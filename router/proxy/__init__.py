"""Relays answers and decides what may be tried again."""
