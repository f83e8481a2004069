"""PostgreSQL and Redis without an installation: own directory, own unix socket, nothing on a standard port."""

from switch.store.embedded.places import EmbeddedServerError
from switch.store.embedded.postgres import EmbeddedPostgres
from switch.store.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedPostgres", "EmbeddedRedis", "EmbeddedServerError"]
