from __future__ import annotations

import base64
import hashlib
import sys
import traceback
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given
from legal_messages import MESSAGES, same

from channel_layers import InvalidChannelLayerError
from channel_layers.encryption import Encrypted, UndecipherableMessage, make_wire_serializer
from channel_layers.serializers import JsonSerializer

MESSAGE = {"type": "chat.message", "text": "the secret plan", "n": 1}

needs_cryptography = pytest.mark.skipif(find_spec("cryptography") is None, reason="cryptography is not installed")


def encrypted(*keys: str | bytes) -> Encrypted:
    return Encrypted(JsonSerializer(), keys)


@needs_cryptography
@given(message=MESSAGES)
def test_with_the_same_key_every_message_arrives(message: dict[str, Any]) -> None:
    assert same(encrypted("key").decode(encrypted("key").encode(message)), message)


@needs_cryptography
def test_nothing_of_the_message_can_be_read_on_the_wire() -> None:
    payload = encrypted("key").encode(MESSAGE)
    readable = payload + base64.urlsafe_b64decode(payload)
    assert b"secret" not in readable
    assert b"chat" not in readable
    assert encrypted("key").encode(MESSAGE) != payload, "equal messages look equal"


@needs_cryptography
def test_the_first_key_encrypts_and_each_decrypts() -> None:
    old, new = encrypted("old"), encrypted("new")
    rotating = encrypted("new", "old")
    assert rotating.decode(old.encode(MESSAGE)) == MESSAGE
    assert rotating.decode(new.encode(MESSAGE)) == MESSAGE
    assert new.decode(rotating.encode(MESSAGE)) == MESSAGE
    with pytest.raises(UndecipherableMessage):
        old.decode(rotating.encode(MESSAGE))


@needs_cryptography
def test_keys_are_those_of_channels_redis() -> None:
    fernet = pytest.importorskip("cryptography.fernet")
    theirs = fernet.Fernet(base64.urlsafe_b64encode(hashlib.sha256("schlüssel".encode()).digest()))
    assert encrypted("schlüssel").decode(theirs.encrypt(b'{"a":1}')) == {"a": 1}
    assert theirs.decrypt(encrypted("schlüssel").encode({"a": 1})) == b'{"a":1}'


@needs_cryptography
def test_a_key_may_be_str_or_bytes() -> None:
    assert encrypted("schlüssel").decode(encrypted("schlüssel".encode()).encode(MESSAGE)) == MESSAGE
    assert encrypted(b"\xff\x00").decode(encrypted(b"\xff\x00").encode(MESSAGE)) == MESSAGE


@needs_cryptography
@pytest.mark.parametrize("when", [0, 4_000_000_000])
def test_neither_age_nor_a_wrong_clock_matters(when: int) -> None:
    fernet = pytest.importorskip("cryptography.fernet")
    theirs = fernet.Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"key").digest()))
    assert encrypted("key").decode(theirs.encrypt_at_time(b'{"a":1}', when)) == {"a": 1}


@needs_cryptography
def test_what_cannot_be_decrypted_is_a_clear_error() -> None:
    layer = encrypted("key", "older")
    payload = layer.encode(MESSAGE)
    changed = payload[:40] + (b"A" if payload[40:41] != b"A" else b"B") + payload[41:]
    for broken in (encrypted("other").encode(MESSAGE), JsonSerializer().encode(MESSAGE), changed, payload[:-4], b""):
        with pytest.raises(UndecipherableMessage, match="none of the symmetric_encryption_keys decrypts") as caught:
            layer.decode(broken)
        assert isinstance(caught.value, ValueError)


@needs_cryptography
def test_what_is_decrypted_but_no_message_is_an_error_of_the_format() -> None:
    fernet = pytest.importorskip("cryptography.fernet")
    theirs = fernet.Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"key").digest()))
    with pytest.raises(ValueError, match="no message in JSON") as caught:
        encrypted("key").decode(theirs.encrypt(b"5"))
    assert not isinstance(caught.value, UndecipherableMessage)


def test_without_encryption_an_encrypted_message_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="or encrypted"):
        JsonSerializer().decode(b"gAAAAABm" + b"x" * 100)


# The options


@pytest.mark.parametrize("keys", [None, [], ()])
def test_no_keys_mean_no_encryption(keys: Any) -> None:
    assert type(make_wire_serializer("json", keys)) is JsonSerializer
    assert type(make_wire_serializer("json")) is JsonSerializer


@needs_cryptography
@pytest.mark.parametrize("keys", [["key"], ("key",), [b"key", "older"]])
def test_keys_mean_encryption_of_the_chosen_format(keys: Any) -> None:
    chosen = make_wire_serializer("json", keys)
    assert type(chosen) is Encrypted
    assert encrypted("key").decode(chosen.encode(MESSAGE)) == MESSAGE


def test_a_wrong_format_is_the_error_of_its_own_option() -> None:
    with pytest.raises(InvalidChannelLayerError, match="serializer_format must be one of"):
        make_wire_serializer("xml", ["key"])


SECRET = "hunter2"

BAD_KEYS: list[tuple[Any, str]] = [
    (SECRET, "symmetric_encryption_keys must be a list of keys, not str"),
    (SECRET.encode(), "symmetric_encryption_keys must be a list of keys, not bytes"),
    ("", "symmetric_encryption_keys must be a list of keys, not str"),
    (b"", "symmetric_encryption_keys must be a list of keys, not bytes"),
    ({SECRET}, "symmetric_encryption_keys must be a list of keys, not set"),
    ({SECRET: 1}, "symmetric_encryption_keys must be a list of keys, not dict"),
    ({}, "symmetric_encryption_keys must be a list of keys, not dict"),
    (iter([SECRET]), "symmetric_encryption_keys must be a list of keys, not list_iterator"),
    (False, "symmetric_encryption_keys must be a list of keys, not bool"),
    (5, "symmetric_encryption_keys must be a list of keys, not int"),
    ([""], "symmetric_encryption_keys[0] is empty"),
    ([SECRET, b""], "symmetric_encryption_keys[1] is empty"),
    ([SECRET, None], "symmetric_encryption_keys[1] must be str or bytes, not NoneType"),
    ([SECRET, 5], "symmetric_encryption_keys[1] must be str or bytes, not int"),
    ([[SECRET]], "symmetric_encryption_keys[0] must be str or bytes, not list"),
    ([bytearray(SECRET.encode())], "symmetric_encryption_keys[0] must be str or bytes, not bytearray"),
    ([SECRET + "\ud800"], "symmetric_encryption_keys[0] holds a lone surrogate, which UTF-8 cannot encode"),
]


@pytest.mark.parametrize(("keys", "problem"), BAD_KEYS)
def test_bad_keys_are_refused_and_never_shown(keys: Any, problem: str) -> None:
    for build in (lambda: make_wire_serializer("json", keys), lambda: Encrypted(JsonSerializer(), keys)):
        with pytest.raises(InvalidChannelLayerError) as caught:
            build()
        assert str(caught.value) == problem
        error: BaseException | None = caught.value
        while error is not None:
            assert SECRET not in "".join(map(str, [error.args, vars(error), getattr(error, "object", "")]))
            error = error.__context__
        assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_encrypted_serializer_needs_a_key() -> None:
    with pytest.raises(InvalidChannelLayerError, match="symmetric_encryption_keys must hold at least one key"):
        Encrypted(JsonSerializer(), [])


@needs_cryptography
def test_an_encrypted_serializer_does_not_show_its_keys() -> None:
    assert SECRET not in repr(encrypted(SECRET)) + repr(vars(encrypted(SECRET)))


def test_without_cryptography_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(InvalidChannelLayerError) as caught:
        make_wire_serializer("json", [SECRET])
    text = "symmetric_encryption_keys needs 'cryptography.fernet', which is not installed: "
    assert str(caught.value) == text + "pip install 'channel_layers[encryption]'"
