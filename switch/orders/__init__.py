"""Orders: made by a merchant, paid by whoever comes first, and everything that is too late given back."""
