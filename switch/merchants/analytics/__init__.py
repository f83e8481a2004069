"""A merchant's trade, in figures."""
