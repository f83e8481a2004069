"""Values and transition tables. A leaf: standard library only, no I/O, no clock."""
