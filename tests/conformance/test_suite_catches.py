"""The test of the test suite: each broken layer fails at the test of the rule it breaks, and nowhere far from it.

By default a layer runs the tests of its own rule, and a few that nearly every layer must pass. With
``CONFORMANCE_WHOLE_SUITE=1`` in the environment it runs all but the slowest, which takes ten minutes instead of one.
"""

from __future__ import annotations

import os
from collections import defaultdict

import pytest
from broken_layers import BROKEN_LAYERS, EVERYTHING, BrokenLayer
from suite_run import Ended, run_suite

from channel_layers.conformance import ChannelLayerConformance
from channel_layers.memory import InMemoryChannelLayer

pytestmark = pytest.mark.timeout(1000)  # the first test waits for all runs of the suite

UNBROKEN = InMemoryChannelLayer.__name__

#: The part of the suite that each test belongs to.
PARTS = {
    name: frozenset(part.__name__ for part in ChannelLayerConformance.__mro__ if name in vars(part))
    for name in dir(ChannelLayerConformance)
    if name.startswith("test_")
}

#: What is left of a layer with one broken rule: a layer that fails here too, for no reason given, is broken all over.
BASICS = frozenset(
    {
        "test_a_message_arrives",
        "test_a_waiting_receive_wakes",
        "test_channels_are_apart",
        "test_every_member_gets_a_group_message",
        "test_new_channel_is_process_specific",
        "test_receiving_makes_room",
    }
)

#: Parts that whatever is broken may show in, and that take their time.
SLOW_PARTS = frozenset({"MemoryTests", "PropertyTests", "SizeTests"})

_ONE_PROCESS = "the broken layers are in memory, where one process cannot reach another"

#: Tests that no broken layer here reaches, and why.
NOT_REACHED = {
    "test_a_message_crosses_processes": _ONE_PROCESS,
    "test_a_group_spans_processes": _ONE_PROCESS,
    "test_processes_share_a_normal_channel": _ONE_PROCESS,
    "test_a_child_starts_without_memberships": _ONE_PROCESS,
}

Endings = dict[str, dict[str, list[Ended]]]


def near_the_rule(layer: type[BrokenLayer]) -> frozenset[str]:
    """The parts of the suite where tests may fail on a layer."""
    return layer.also.union(*(PARTS[test] for test in layer.caught_by if test in PARTS))


@pytest.fixture(scope="session")
def endings(tmp_path_factory: pytest.TempPathFactory) -> Endings:
    """How the tests ended, by layer and by test."""
    sample = BASICS
    if os.environ.get("CONFORMANCE_WHOLE_SUITE") == "1":
        sample = frozenset(test for test, parts in PARTS.items() if not parts & SLOW_PARTS)
    shall_fail = {layer.__name__: layer.caught_by for layer in BROKEN_LAYERS}
    shall_pass = {
        layer.__name__: {test for test in sample if not near_the_rule(layer) & {EVERYTHING, *PARTS[test]}}
        for layer in BROKEN_LAYERS
    }
    shall_pass[UNBROKEN] = set().union(sample, *shall_fail.values())
    found: Endings = defaultdict(lambda: defaultdict(list))
    for ended in run_suite(shall_fail, shall_pass, tmp_path_factory.mktemp("suite")):
        found[ended.layer][ended.name].append(ended)
    return found


def test_the_unbroken_layer_passes(endings: Endings) -> None:
    """The layer that all broken ones are made of passes the same tests; it skips those of claims it does not make."""
    may_skip = NOT_REACHED.keys() | frozenset().union(*(layer.caught_by for layer in BROKEN_LAYERS if layer.claims))
    outcomes = {test: {ended.outcome for ended in each} for test, each in endings[UNBROKEN].items()}
    assert not {test for test, found in outcomes.items() if found - {"passed", "skipped"}}
    assert not {test for test, found in outcomes.items() if "passed" not in found} - may_skip


@pytest.mark.parametrize("layer", BROKEN_LAYERS, ids=lambda layer: layer.__name__)
def test_the_suite_catches(layer: type[BrokenLayer], endings: Endings) -> None:
    """Every test of the rule fails, by what it finds itself and not by hanging."""
    assert layer.caught_by, f"no test is named for: {layer.__doc__}"
    ended = endings[layer.__name__]
    for test in sorted(layer.caught_by):
        assert test in ended, f"the suite has no {test}"
        failed = [each for each in ended[test] if each.outcome == "failed"]
        assert failed, f"{test} passes on a layer that breaks this rule: {layer.__doc__}"
        hung = [each.test for each in failed if "Timeout (>" in each.text]
        assert not hung, f"these tests hang where they should fail: {hung}"


@pytest.mark.parametrize("layer", BROKEN_LAYERS, ids=lambda layer: layer.__name__)
def test_failures_stay_near_the_rule(layer: type[BrokenLayer], endings: Endings) -> None:
    """Whoever breaks one rule is told of that one, and not of others that hold."""
    near = near_the_rule(layer)
    elsewhere = {
        f"{'/'.join(sorted(PARTS[name]))}: {ended.test}": ended.text
        for name, each in endings[layer.__name__].items()
        for ended in each
        if ended.outcome in ("failed", "error") and not near & PARTS[name]
    }
    assert not elsewhere


def test_every_test_can_fail() -> None:
    """A test that no broken layer reaches may be one that cannot fail: it is caught here, or its reason is given."""
    reached = frozenset().union(*(layer.caught_by for layer in BROKEN_LAYERS))
    assert not reached - PARTS.keys(), "there are no such tests"
    assert not NOT_REACHED.keys() - PARTS.keys(), "there are no such tests"
    assert not reached & NOT_REACHED.keys(), "these tests are reached"
    assert not PARTS.keys() - reached - NOT_REACHED.keys(), "no broken layer reaches these tests"
