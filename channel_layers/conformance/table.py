"""The page that shows which layer keeps which rule: ``python -m channel_layers.conformance.table --output FILE``.

Each layer runs in a process of its own, through the command line. To add one, add an entry to :data:`LAYERS`. Those
that need a Redis are left out unless ``--redis`` names one; ``make tables`` starts it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

#: Seconds that the whole suite may take on one layer.
_TIME_LIMIT = 900

#: What the specification does not ask for, and only the layers of this package promise.
_ONLY_OURS = {
    "owned_channels": False,
    "depth_limit": False,
    "discard_channel": False,
    "plain_types": False,
    "message_paths": False,
    "steady_membership": False,
    "endless_membership": False,
    "sub_second_group_expiry": False,
    "closing": False,
    "statistics": False,
    "drop_log": False,
}


@dataclass(frozen=True)
class Layer:
    """A column of the table."""

    title: str
    path: str
    distribution: str  #: whose version is shown
    features: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    #: For a layer on Redis: what its option ``hosts`` has to be for the server at a URL.
    hosts: Callable[[str], Any] | None = None


LAYERS = (
    Layer(
        title="channel_layers, in memory",
        path="channel_layers.memory.InMemoryChannelLayer",
        distribution="channel_layers",
        features={"cross_process": False},
    ),
    Layer(
        title="Channels, in memory",
        path="channels.layers.InMemoryChannelLayer",
        distribution="channels",
        features={"cross_process": False, "deadline": 2.0, **_ONLY_OURS},
    ),
    Layer(
        title="channel_layers, shared memory",
        path="channel_layers.ipc.IPCChannelLayer",
        distribution="channel_layers",
        features={},
    ),
    Layer(
        title="channel_layers, Redis queues",
        path="channel_layers.redis.RedisChannelLayer",
        distribution="channel_layers",
        features={},
        hosts=lambda url: [url],
    ),
    Layer(
        title="channels_redis, queues",
        path="channels_redis.core.RedisChannelLayer",
        distribution="channels_redis",
        # Its documentation speaks of seconds, and shares capacity as the specification does; it has no close().
        features={
            "sub_second_expiry": False,
            "capacity": "process",
            "restartable": False,
            "deadline": 4.0,
            **_ONLY_OURS,
        },
        # It waits in reads of 5 s, and redis-py 8 by default fails a read after 5 s.
        hosts=lambda url: [{"address": url, "socket_timeout": None}],
    ),
    Layer(
        title="channel_layers, Redis Pub/Sub",
        path="channel_layers.redis.RedisPubSubChannelLayer",
        distribution="channel_layers",
        features={"remote_capacity": False, "membership": "delivery"},
        hosts=lambda url: [url],
    ),
    Layer(
        title="channels_redis, Pub/Sub",
        path="channels_redis.pubsub.RedisPubSubChannelLayer",
        distribution="channels_redis",
        # Its documentation says that it has neither capacity nor expiry.
        features={
            "waiting": False,
            "capacity": None,
            "channel_capacity": False,
            "remote_capacity": False,
            "expiry": False,
            "group_expiry": False,
            "membership": "delivery",
            "restartable": False,
            "deadline": 4.0,
            **_ONLY_OURS,
        },
        hosts=lambda url: [{"address": url, "socket_timeout": None}],
    ),
)

_INTRODUCTION = """\
.. Written by ``python -m channel_layers.conformance.table``; do not edit.

===========================
Conformance, layer by layer
===========================

Every rule of the conformance suite, held against each layer by ``channel-layers conformance``. A rule *passes* if all
its cases do. *Not claimed* means that the layer does not say that it keeps the rule, and was not asked: most of these
are not in the specification. What is in italics is the heading of the specification that the rule stands under.

The specification lists the types that a message may hold, and does not say what to do with others. That they are
*refused with a TypeError* is our reading: what a layer in memory accepts, a layer on a wire cannot carry.
"""

_ON_REDIS = """\
channels_redis runs with ``socket_timeout`` None for its host: with redis-py 8, its receives would otherwise end after
five idle seconds. It is asked for the capacity that the specification describes, which the channels of a process share,
and ours for the one that is counted by channel.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the suite on every layer and write the page."""
    parser = argparse.ArgumentParser(prog="python -m channel_layers.conformance.table", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the page to write, in reStructuredText")
    parser.add_argument("--redis", metavar="URL", help="a Redis for the layers that need one; its data will be lost")
    options = parser.parse_args(arguments)
    layers = [layer for layer in LAYERS if layer.hosts is None or options.redis]
    runs = []
    for layer in layers:
        sys.stderr.write(f"running the suite on {layer.path} ...\n")
        runs.append(run(layer, options.redis))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page(layers, runs), encoding="utf-8")
    return 0


def run(layer: Layer, redis: str | None = None) -> dict[str, Any]:
    """What the command line writes to its JSON file about a layer.

    :param redis: the URL of the server for a layer that needs one.
    """
    config = layer.config if layer.hosts is None or redis is None else {**layer.config, "hosts": layer.hosts(redis)}
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.json")
        command = [sys.executable, "-m", "channel_layers", "conformance", layer.path, "--json", str(results)]
        command += ["--config", json.dumps(config), "--features", json.dumps(layer.features)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT, check=False)  # noqa: S603
        if ended.returncode not in (0, 1):
            raise SystemExit(f"the suite could not run on {layer.path}:\n{ended.stderr}")
        run: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
        return run


def page(layers: Sequence[Layer], runs: Sequence[dict[str, Any]]) -> str:
    """The page for these layers and what came of their runs."""
    is_on_redis = any(layer.hosts for layer in layers)
    lines = [_INTRODUCTION, *([_ON_REDIS] if is_on_redis else [])]
    versions = [_version(layer, run) for layer, run in zip(layers, runs, strict=True)]
    titles = [f"{layer.title}, {version}" for layer, version in zip(layers, versions, strict=True)]
    client = f", with redis-py {metadata.version('redis')}" if is_on_redis else ""
    lines += [f"Run on Python {runs[0]['versions']['Python']}{client}.", ""]
    parts = list(dict.fromkeys(result["part"] for result in runs[0]["results"]))
    rows = [[part, *(_summary([r for r in run["results"] if r["part"] == part]) for run in runs)] for part in parts]
    lines += _list_table("Rules that pass, of those claimed", ["Part", *titles], rows, "40 " + "30 " * len(layers))
    for part in parts:
        lines += [part, "=" * len(part), ""]
        lines += _list_table(
            "", ["Rule", *(layer.title for layer in layers)], list(_rows(part, runs)), "60 " + "20 " * len(layers)
        )
    return "\n".join(lines).rstrip() + "\n"


def _rows(part: str, runs: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    rules = {result["test"]: result["rule"] for result in runs[0]["results"] if result["part"] == part}
    for test, rule in rules.items():
        cells = [_verdict([r for r in run["results"] if r["test"] == test]) for run in runs]
        yield [f"{rule}\n\n``{test}``", *cells]


def _verdict(cases: list[dict[str, Any]]) -> str:
    """One word for all cases of a rule, and how many fail if not all do."""
    asked = [case for case in cases if case["outcome"] != "skipped"]
    failed = [case for case in asked if case["outcome"] == "failed"]
    if not asked:
        return "not claimed"
    if not failed:
        return "passes"
    return "**fails**" if len(asked) == 1 else f"**fails** ({len(failed)} of {len(asked)} cases)"


def _summary(results: list[dict[str, Any]]) -> str:
    """How many rules pass, of those that are claimed."""
    verdicts = [
        _verdict([result for result in results if result["test"] == test])
        for test in dict.fromkeys(result["test"] for result in results)
    ]
    claimed = [verdict for verdict in verdicts if verdict != "not claimed"]
    return f"{claimed.count('passes')} of {len(claimed)}" if claimed else "not claimed"


def _version(layer: Layer, run: dict[str, Any]) -> str:
    versions = run["versions"]
    return str(versions.get(layer.distribution, "version unknown"))


def _list_table(title: str, header: list[str], rows: list[list[str]], widths: str) -> list[str]:
    lines = [f".. list-table:: {title}".rstrip(), "   :header-rows: 1", f"   :widths: {widths.strip()}", ""]
    for row in [header, *rows]:
        for n, cell in enumerate(row):
            first, *others = cell.split("\n")
            lines.append(f"   {'* -' if n == 0 else '  -'} {first}")
            lines += [f"       {line}" if line else "" for line in others]
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main())
