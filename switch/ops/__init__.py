"""How the running switch shows itself and stops: logs, metrics, checks, health, the operations listener, draining."""
