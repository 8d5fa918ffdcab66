"""A channel layer between the processes of one machine, over POSIX shared memory."""

from .layer import IPCChannelLayer

__all__ = ["IPCChannelLayer"]
