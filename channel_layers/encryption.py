"""Messages that whoever reads the wire cannot read: symmetric encryption around any serializer.

The keys become Fernet keys in the way that ``channels_redis`` documents, so that its ``symmetric_encryption_keys`` go
on working. Decryption knows no time limit: how old a message may be is for the layer to decide.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from .checks import checking
from .exceptions import InvalidChannelLayerError
from .extras import require_extra
from .serializers import Serializer, make_serializer

_OPTION = "symmetric_encryption_keys"


class UndecipherableMessage(ValueError):  # noqa: N818 - named like the other errors about messages
    """The bytes are not encrypted, were changed on the way, or encrypted with a key that is not among ours."""


class Encrypted:
    """A serializer whose bytes are those of another one, encrypted.

    :param serializer: the other one.
    :param keys: a list of strings or byte strings. The first encrypts, each of them decrypts.
    :raises InvalidChannelLayerError: if the keys are no such list, or ``cryptography`` is not installed.
    """

    def __init__(self, serializer: Serializer, keys: Sequence[str | bytes]) -> None:
        with checking(_OPTION):
            raw_keys = [_raw_key(key, index) for index, key in enumerate(_require_list(keys))]
        if not raw_keys:
            raise InvalidChannelLayerError(f"{_OPTION} must hold at least one key")
        fernet = require_extra("cryptography.fernet", "encryption", _OPTION)
        self._serializer = serializer
        self._invalid_token: type[Exception] = fernet.InvalidToken
        self._fernet: Any = fernet.MultiFernet([fernet.Fernet(_fernet_key(key)) for key in raw_keys])

    def encode(self, message: Any, /) -> bytes:
        """Turn a message into bytes, and encrypt them.

        :raises InvalidMessage: for a value that some backend could not carry, naming its path.
        :raises MessageTooLarge: for more than 1,048,576 bytes as compact JSON.
        """
        token: bytes = self._fernet.encrypt(self._serializer.encode(message))
        return token

    def decode(self, payload: bytes, /) -> dict[str, Any]:
        """Decrypt bytes, and turn them into a message that nobody else holds.

        :raises UndecipherableMessage: if no key decrypts them.
        :raises ValueError: if what was decrypted is no message.
        """
        try:
            plain = self._fernet.decrypt(payload)
        except self._invalid_token:
            raise UndecipherableMessage(
                f"none of the {_OPTION} decrypts the message: it is not encrypted, was changed, or its key is not here"
            ) from None
        return self._serializer.decode(plain)


def make_wire_serializer(
    serializer_format: str, symmetric_encryption_keys: Sequence[str | bytes] | None = None
) -> Serializer:
    """The serializer that these two options of a layer describe.

    :param serializer_format: the name of a registered serializer.
    :param symmetric_encryption_keys: keys for :class:`Encrypted`; None or an empty list: no encryption.
    :raises InvalidChannelLayerError: naming the option that is wrong.
    """
    with checking("serializer_format"):
        serializer = make_serializer(serializer_format)
    if symmetric_encryption_keys is None:
        return serializer
    with checking(_OPTION):
        keys = list(_require_list(symmetric_encryption_keys))
    return Encrypted(serializer, keys) if keys else serializer


# The errors below say which key and of what type, never what it is: they end in logs.


def _require_list(keys: Any) -> Sequence[str | bytes]:
    """No other kind of collection will do, not even an empty one: a set has no first key, and an empty string is a
    setting that somebody forgot, not a decision against encryption."""
    if not isinstance(keys, (list, tuple)):
        raise InvalidChannelLayerError(f"{_OPTION} must be a list of keys, not {type(keys).__name__}")
    return keys


def _raw_key(key: object, index: int) -> bytes:
    if not isinstance(key, (str, bytes)):
        raise InvalidChannelLayerError(f"{_OPTION}[{index}] must be str or bytes, not {type(key).__name__}")
    if not key:
        raise InvalidChannelLayerError(f"{_OPTION}[{index}] is empty")
    if isinstance(key, bytes):
        return key
    raw = key.encode("utf-8", "replace")
    if raw.decode() != key:  # strict encoding would hand the key to whoever logs its UnicodeEncodeError
        raise InvalidChannelLayerError(f"{_OPTION}[{index}] holds a lone surrogate, which UTF-8 cannot encode")
    return raw


def _fernet_key(key: bytes) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(key).digest())
