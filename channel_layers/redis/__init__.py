"""Channel layers over Redis."""

from .pubsub import RedisPubSubChannelLayer
from .queue import RedisChannelLayer

__all__ = ["RedisChannelLayer", "RedisPubSubChannelLayer"]
