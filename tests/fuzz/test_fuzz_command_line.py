"""The command line with any arguments: a status, and a text; never a traceback."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from hostile import fuzz
from hypothesis import given
from hypothesis import strategies as st

from channel_layers.cli import main

WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from([
        "conformance", "--config", "--features", "--json", "-k", "--version", "--help", "-", "--", "=", "{}", "[]", "{",
        '{"expiry": -1}', '{"a": 1}', '{"cross_process": 5}', '{"nothing": true}', "[" * 100_000, "9" * 10_000, "NaN",
        "channel_layers.memory.InMemoryChannelLayer", "channel_layers.memory", "a.b", "..", "\ud800.x", "a\0.b",
        "\ud800",
        "builtins.dict", "os.getcwd", "-k=(", "/", "", "\0",
    ]),
)  # fmt: skip


@fuzz(300)
@given(st.lists(WORDS, max_size=6), st.booleans())
def test_any_arguments(arguments: list[str], is_command: bool) -> None:
    # What is right would run the suite: that is tested elsewhere, and takes long.
    words = ["conformance", "builtins.dict", *arguments] if is_command else [*arguments, "--colour"]
    out, err = io.StringIO(), io.StringIO()
    before = set(Path().iterdir())
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as ended:
            status = ended.code
    assert status in (0, 1, 2)
    assert out.getvalue() or err.getvalue()
    for made in set(Path().iterdir()) - before:
        made.unlink()
