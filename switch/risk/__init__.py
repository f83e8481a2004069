"""Risk on the road: facts are gathered by the batch, then judged by pure rules."""
