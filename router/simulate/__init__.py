"""A fleet in virtual time, driven by the shipped routing and index code."""
