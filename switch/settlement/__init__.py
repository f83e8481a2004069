"""Settlement: what the channels bill, held against our own records."""
