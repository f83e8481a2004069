from order_scene import scene
from town import request_of, town

__all__ = ["request_of", "scene", "town"]
