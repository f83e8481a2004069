"""Ways to issuers. Each folder: codec (no I/O), channel (transport and meaning), simulator (a strict peer)."""
