"""What builds a process out of its parts: a file for each service and for what they share. Nothing is decided here."""
