"""Queues: unread messages wait in Redis."""

from .layer import RedisChannelLayer

__all__ = ["RedisChannelLayer"]
