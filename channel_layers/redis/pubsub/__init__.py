"""Pub/Sub: nothing waits in Redis, messages go at once to those who are there."""

from .layer import RedisPubSubChannelLayer

__all__ = ["RedisPubSubChannelLayer"]
