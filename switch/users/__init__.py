"""People: accounts, how they prove who they are, sessions, devices, cards, payment codes (docs/users.md)."""
