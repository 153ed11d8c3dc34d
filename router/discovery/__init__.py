"""Finds out which workers there are."""
