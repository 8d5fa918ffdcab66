"""Every option of every layer, with anything for a value: a layer, or an error that names the option, soon."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hostile import Case, HostileStr, anything, dicts, fuzz, leaves, without_end
from hypothesis import given
from hypothesis import strategies as st

from channel_layers import BaseChannelLayer, InvalidChannelLayerError
from channel_layers.ipc import IPCChannelLayer
from channel_layers.memory import InMemoryChannelLayer
from channel_layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

COMMON = ["expiry", "group_expiry", "capacity", "channel_capacity"]
REDIS = [
    *COMMON, "hosts", "prefix", "symmetric_encryption_keys", "serializer_format", "overflow", "mailbox_capacity",
    "lease", "send_timeout", "random_prefix_length", "sentinels", "service_name", "sentinel_kwargs",
    "connection_kwargs",
]  # fmt: skip
OPTIONS = [
    *((BaseChannelLayer, name) for name in COMMON),
    *((InMemoryChannelLayer, name) for name in COMMON),
    *((IPCChannelLayer, name) for name in [*COMMON, "prefix", "message_memory", "permissions"]),
    *((RedisChannelLayer, name) for name in REDIS),
    *((RedisPubSubChannelLayer, name) for name in ["on_disconnect", "on_reconnect", "prefix", "hosts"]),
]
#: Without these, the option is about nothing.
BESIDES: dict[str, dict[str, Any]] = {
    "sentinels": {"service_name": "main"},
    "service_name": {"sentinels": [("localhost", 26379)]},
    "sentinel_kwargs": {"sentinels": [("localhost", 26379)], "service_name": "main"},
    "connection_kwargs": {"sentinels": [("localhost", 26379)], "service_name": "main"},
}


def build(kind: type[BaseChannelLayer], option: str, value: Any) -> BaseChannelLayer | None:
    """The layer, or None after a good error."""
    try:
        layer = kind(**{option: value, **BESIDES.get(option, {})})
    except (ValueError, TypeError) as error:
        text = str(error)
    else:
        text = None
    if text is None:
        return layer
    assert option.removesuffix("s") in text, text
    assert len(text) < 1000, "a value is shown in a few words"
    return None


@pytest.mark.parametrize(("kind", "option"), OPTIONS, ids=lambda each: getattr(each, "__name__", each))
def test_an_option(kind: type[BaseChannelLayer], option: str) -> None:
    @fuzz(100)
    @given(anything)
    def give(case: Case) -> None:
        layer = build(kind, option, case.make())
        if layer is not None and option.endswith("capacity"):
            assert type(layer.get_capacity("x")) is int

    give()


HOST_KEYS = st.sampled_from([
    "address", "host", "port", "path", "db", "name", "username", "password", "ssl", "ssl_cert_reqs", "ssl_ca_certs",
    "socket_timeout", "socket_connect_timeout", "encoding", "encoding_errors", "client_name", "sentinels",
    "master_name", "sentinel_kwargs", "credential_provider", "connection_class", "unix_socket_path", "is_master",
    "socket_keepalive_options", "retry", "connection_pool", "cluster", "",
])  # fmt: skip
URLS = st.one_of(
    st.from_regex(r"(redis|rediss|unix|redis\+sentinel|http)://[a-z:@/?#&=0-9\[\].%]{0,30}", fullmatch=True),
    st.builds("redis://localhost/{}".format, st.integers(0, 10**5000).map(lambda number: "9" * (number % 5000 + 1))),
    st.builds("redis://{}".format, st.text(max_size=20)),
).map(lambda url: Case(repr(url[:80]), lambda: url))
PAIRS = st.tuples(leaves, leaves).map(lambda pair: Case(repr(pair), lambda: tuple(each.make() for each in pair)))


@fuzz(300)
@given(st.lists(st.one_of(URLS, PAIRS, dicts(HOST_KEYS, st.one_of(leaves, URLS)), anything), min_size=1, max_size=2))
def test_hosts_of_any_shape(cases: list[Case]) -> None:
    build(RedisChannelLayer, "hosts", [case.make() for case in cases])


@fuzz(100)
@given(st.text(max_size=20), anything)
def test_an_option_that_does_not_exist(name: str, case: Case) -> None:
    for kind in (InMemoryChannelLayer, IPCChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer):
        if (kind, name) not in OPTIONS and name not in REDIS:
            with pytest.raises(InvalidChannelLayerError, match="has no option"):
                kind(**{name: case.make()})


def test_an_error_does_not_write_what_has_no_end() -> None:
    for kind, option in OPTIONS:  # to write it would take for ever
        build(kind, option, without_end())
        build(kind, option, [without_end()])


PATTERNS = st.text(alphabet="a*?[]!^-.(+)\\", max_size=60)


@fuzz(200)
@given(st.dictionaries(PATTERNS, st.integers(1, 9), max_size=5), st.text(alphabet="ab.", min_size=1, max_size=100))
def test_a_glob_ends_whatever_it_is(patterns: dict[str, int], name: str) -> None:
    layer = InMemoryChannelLayer(channel_capacity=patterns)
    assert layer.get_capacity(name) in (*patterns.values(), 100)


def test_a_glob_full_of_stars_ends() -> None:
    layer = InMemoryChannelLayer(channel_capacity={"*a" * 40 + "*b": 5, "*?*" * 30 + "[b]": 6})
    assert layer.get_capacity("a" * 100) == 100  # to try every way to match it would take for ever


def test_a_pattern_of_bytes_is_refused_when_the_layer_is_built() -> None:
    with pytest.raises(InvalidChannelLayerError, match="channel_capacity"):
        InMemoryChannelLayer(channel_capacity={re.compile(b"a"): 5})


def test_no_subclass_is_kept() -> None:
    layer = IPCChannelLayer(prefix=HostileStr("fuzz"))
    assert type(layer._prefix) is str
