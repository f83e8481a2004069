"""PostgreSQL (the truth) and Redis (fast, losable) behind `switch.ports`, and both servers embedded for a laptop."""
