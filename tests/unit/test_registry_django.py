"""The registry in a Django project. Django is configured once a process, so each case runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("channels")

SETTINGS = """
import sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[],
    CHANNEL_LAYERS={
        "default": {"BACKEND": "channel_layers.memory.InMemoryChannelLayer", "CONFIG": {"capacity": 7}},
        "broken": {"BACKEND": "channel_layers.memory.InMemoryChannelLayer", "CONFIG": {"hosts": []}},
    },
)
import django
django.setup()
import channel_layers
from channel_layers.memory import InMemoryChannelLayer
"""


def run(code: str, prelude: str = SETTINGS) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_both_functions_return_the_same_object_whoever_is_asked_first() -> None:
    run("""
        from channels.layers import get_channel_layer
        assert channel_layers.get_channel_layer() is get_channel_layer()
        assert get_channel_layer().capacity == 7
        assert channel_layers.has_layers()
        assert channel_layers.get_channel_layer("missing") is None
    """)
    run("""
        from channels.layers import get_channel_layer
        assert get_channel_layer() is channel_layers.get_channel_layer()
    """)


def test_a_setting_that_is_overridden_resets_both() -> None:
    run("""
        from channels.layers import get_channel_layer
        from django.test import override_settings
        outside = channel_layers.get_channel_layer()
        with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "channel_layers.memory.InMemoryChannelLayer"}}):
            inside = channel_layers.get_channel_layer()
            assert inside is not outside and inside.capacity == 100
            assert get_channel_layer() is inside
            assert channel_layers.get_channel_layer("broken") is None
        assert channel_layers.get_channel_layer() is get_channel_layer() is not inside
        assert channel_layers.get_channel_layer().capacity == 7
    """)


def test_registering_sets_the_layer_of_channels_too() -> None:
    run("""
        from channels.layers import channel_layers as manager, get_channel_layer
        layer = InMemoryChannelLayer()
        channel_layers.register_channel_layer("default", layer)
        assert channel_layers.get_channel_layer() is get_channel_layer() is layer
        channel_layers.unregister_channel_layer("default")
        assert channel_layers.get_channel_layer() is get_channel_layer() is not layer
        old = manager.set("default", layer)
        assert channel_layers.get_channel_layer() is layer
    """)


def test_configure_gives_its_layers_to_channels() -> None:
    run("""
        from channels.layers import get_channel_layer
        channel_layers.configure({"default": {"BACKEND": "channel_layers.memory.InMemoryChannelLayer"}})
        assert channel_layers.get_channel_layer() is get_channel_layer()
        assert get_channel_layer().capacity == 100
    """)


def test_configure_changes_nothing_if_it_fails() -> None:
    run("""
        before = channel_layers.get_channel_layer()
        good = {"BACKEND": "channel_layers.memory.InMemoryChannelLayer"}
        try:
            channel_layers.configure({"default": good, "bad": {**good, "CONFIG": {"hosts": []}}})
        except channel_layers.InvalidChannelLayerError:
            assert channel_layers.get_channel_layer() is before
        else:
            sys.exit("accepted")
    """)


def test_what_configure_said_outlives_an_overridden_setting() -> None:
    run("""
        from channels.layers import get_channel_layer
        from django.test import override_settings
        channel_layers.configure({"mine": {"BACKEND": "channel_layers.memory.InMemoryChannelLayer"}})
        with override_settings(CHANNEL_LAYERS={}):
            assert channel_layers.get_channel_layer("mine") is get_channel_layer("mine") is not None
        assert channel_layers.get_channel_layer("mine") is get_channel_layer("mine") is not None
        assert channel_layers.get_channel_layer().capacity == 7
    """)


def test_what_was_there_before_django_stays() -> None:
    run(
        """
        from channels.layers import get_channel_layer
        assert channel_layers.get_channel_layer("early") is early is get_channel_layer("early")
        assert channel_layers.get_channel_layer("said").capacity == 3
        assert channel_layers.get_channel_layer() is get_channel_layer()
        """,
        """
import channel_layers
from channel_layers.memory import InMemoryChannelLayer
early = InMemoryChannelLayer()
channel_layers.configure({"said": {"BACKEND": "channel_layers.memory.InMemoryChannelLayer", "CONFIG": {"capacity": 3}}})
channel_layers.register_channel_layer("early", early)
assert channel_layers.get_channel_layer("early") is early
"""
        + SETTINGS,
    )


def test_errors_name_alias_and_option() -> None:
    run("""
        try:
            channel_layers.get_channel_layer("broken")
        except channel_layers.InvalidChannelLayerError as error:
            assert "CHANNEL_LAYERS['broken']['CONFIG']" in str(error) and "'hosts'" in str(error), error
        else:
            sys.exit("accepted")
    """)


def test_channels_catches_the_errors_of_our_layer() -> None:
    run("""
        from channels.exceptions import ChannelFull, InvalidChannelLayerError
        from channels.layers import get_channel_layer
        from asgiref.sync import async_to_sync
        layer = get_channel_layer()
        try:
            get_channel_layer("broken")
        except InvalidChannelLayerError as error:
            assert "'hosts'" in str(error)
        for _ in range(7):
            async_to_sync(layer.send)("a", {"type": "x"})
        try:
            async_to_sync(layer.send)("a", {"type": "x"})
        except ChannelFull:
            sys.exit(0)
        sys.exit("not full")
    """)


def test_without_channels_the_settings_hold_all_the_same() -> None:
    run(
        """
        from django.test import override_settings
        outside = channel_layers.get_channel_layer()
        assert outside.capacity == 7 and channel_layers.get_channel_layer() is outside
        with override_settings(CHANNEL_LAYERS={}):
            assert channel_layers.get_channel_layer() is None
            assert not channel_layers.has_layers()
        assert channel_layers.get_channel_layer() is not outside
        """,
        "import sys\nsys.modules['channels'] = None\n" + SETTINGS,
    )


def test_django_that_is_imported_but_not_configured_is_no_django_project() -> None:
    run(
        """
        import django.conf
        import channel_layers
        channel_layers.configure({"default": {"BACKEND": "channel_layers.memory.InMemoryChannelLayer"}})
        assert channel_layers.get_channel_layer().capacity == 100
        """,
        "",
    )
