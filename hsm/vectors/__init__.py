"""Runs test vectors through the command core: `python -m hsm.vectors FILE`. See `hsm.vectors.__main__`."""
