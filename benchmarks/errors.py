"""What ends a run."""


class WrongResultError(Exception):
    """A layer did not deliver what was sent. Its speed is then no result."""
