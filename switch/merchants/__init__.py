"""Merchants: what they are, what they may and what they see."""
