"""The options of the layers over Redis, as they are declared."""

from __future__ import annotations

from inspect import Parameter, signature

import pytest

from channel_layers import InvalidChannelLayerError
from channel_layers.redis import RedisChannelLayer, RedisPubSubChannelLayer


def options(layer: type) -> dict[str, Parameter]:
    # Not of the class: some versions of Python take that from __new__.
    declared = signature(layer.__init__).parameters  # type: ignore[misc]
    return {name: option.replace(kind=Parameter.KEYWORD_ONLY) for name, option in declared.items()}


def test_both_layers_declare_the_same_options_with_the_same_defaults() -> None:
    pubsub = options(RedisPubSubChannelLayer)
    assert pubsub.pop("on_disconnect").default is pubsub.pop("on_reconnect").default is None
    assert pubsub == options(RedisChannelLayer)


@pytest.mark.parametrize("layer", [RedisChannelLayer, RedisPubSubChannelLayer])
def test_an_unknown_option_is_named(layer: type) -> None:
    with pytest.raises(InvalidChannelLayerError, match=f"{layer.__name__} has no option 'expiri'"):
        layer(expiri=5)
