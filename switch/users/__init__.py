"""People: accounts, how they prove who they are, their sessions and devices. docs/users.md tells the rules."""
