"""What a Redis server that is away raises, and in plain words why it is."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

from ..exceptions import LayerUnavailable

if TYPE_CHECKING:
    _RedisConnectionError = Exception
else:
    try:
        from redis.exceptions import ConnectionError as _RedisConnectionError
    except ImportError:
        _RedisConnectionError = Exception

__all__ = ["RedisUnavailable", "reason"]


class RedisUnavailable(LayerUnavailable, _RedisConnectionError):  # noqa: N818 - as its base
    """A Redis server is away, or lets nobody in; ``except redis.exceptions.ConnectionError`` catches it too."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # OSError does not pass the call on, and the attributes that redis-py sets would be missing.
        _RedisConnectionError.__init__(self, *args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.args))})"  # that of redis-py drops the text


def reason(error: BaseException, user: str | None = None) -> str:
    """Why a connection failed, in words for the person who set it up.

    :param error: what the client or the socket raised.
    :param user: the name that was used to log in, if any.
    """
    text = " ".join(str(error).split())
    # redis-py's errors by name, since this module has to work without it.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "AuthenticationError" in kinds:
        text = f"{_login_problem(text, user)} ({text})"
    elif "BusyLoadingError" in kinds:
        text = f"it is still loading its data ({text})"
    elif "NoPermissionError" in kinds:
        text = f"a right is missing ({text})"
    elif "max number of clients" in text:
        text = f"it has no place for another connection ({text})"
    elif text.startswith("DENIED"):  # protected mode: a page of advice follows
        text = text.partition(". ")[0]
    elif "closed by server" not in text:
        # redis-py words an error of the socket anew, sometimes without the reason; the original is its context.
        cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
        if isinstance(cause, OSError):
            text = _socket_problem(cause)
    return text or type(error).__name__


def _login_problem(text: str, user: str | None) -> str:
    if "required" in text:
        return "it asks for a password"
    if "without any password" in text or "no password is set" in text:
        return "a password was given, but it has none"
    return f"wrong password for the user {user!r}, or no such user" if user else "wrong password"


def _socket_problem(error: OSError) -> str:
    text = error.strerror or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"its TLS certificate is not accepted ({error.verify_message})"
    elif isinstance(error, ssl.SSLError):
        text = f"TLS failed ({error.reason or error})"
    elif isinstance(error, socket.gaierror):
        text = f"its host name is unknown ({text})"
    elif isinstance(error, TimeoutError):
        # What a Redis server without TLS does: it waits for the end of the line.
        text = "timed out in the TLS handshake: does it speak TLS?" if "handshake" in str(error) else "timed out"
    elif isinstance(error, BlockingIOError):  # a socket file
        text = "it does not accept connections (its queue is full)"
    elif isinstance(error, ConnectionRefusedError):
        text = "nobody listens there (connection refused)"
    elif isinstance(error, (ConnectionResetError, BrokenPipeError)):
        text = "it closed the connection at once"
    return text
