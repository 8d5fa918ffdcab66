"""Channel layers over Redis."""

from .queue import RedisChannelLayer

__all__ = ["RedisChannelLayer"]
