"""``python -m compare``: that scenarios pass and fail, that layers that misbehave do not stop the run, and that the
page is right. What the layers do is not asked here."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("asgiref")

import compare.run
from compare.command import main
from compare.layers import ABILITIES, LAYERS, Compared, Way
from compare.page import comparison_page, escaped
from compare.run import run
from compare.scenario import CANNOT, FAILS, PASSES, Outcome, Scenario, cannot, fails, none_of, passes
from compare.scenarios import SCENARIOS
from compare.speed import speeds

ROOT = Path(__file__).parents[2]
MEMORY = next(layer for layer in LAYERS if layer.name == "memory")


def broken(name: str) -> Compared:
    return dataclasses.replace(MEMORY, name="broken", title="broken", backend=f"layers_with_faults.{name}")


def check_rst(text: str) -> None:
    pytest.importorskip("docutils")
    from docutils.core import publish_doctree

    plain = re.sub(r":(doc|ref):`[^`]*`", "a link", text)
    publish_doctree(plain, settings_overrides={"report_level": 2, "halt_level": 2})


# Scenarios


@pytest.mark.parametrize("name", ["cancelled-receive", "unknown-option"])
def test_a_scenario_passes_on_a_good_layer(name: str) -> None:
    assert run(SCENARIOS[name], MEMORY).verdict == PASSES


def test_it_counts_what_a_broken_layer_loses() -> None:
    outcome = run(SCENARIOS["cancelled-receive"], broken("ForgetsCancelledReceive"))
    assert outcome.verdict == FAILS
    assert re.fullmatch(r"\d+ of 600 lost", outcome.figure)


def test_it_sees_an_option_that_is_swallowed() -> None:
    assert run(SCENARIOS["unknown-option"], broken("TakesAnyOption")) == fails("accepted")


def test_what_a_layer_raises_is_its_outcome_in_one_line() -> None:
    assert run(SCENARIOS["mutable"], broken("Raises")) == fails("OSError: the |server| is away")


def test_a_layer_that_hangs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compare.run.STARTING_SECONDS", 0)
    scenario = dataclasses.replace(SCENARIOS["mutable"], deadline=1.0)
    assert run(scenario, broken("Hangs")) == fails("hangs: not finished after 1 s")


def test_a_layer_that_ends_its_process_fails() -> None:
    assert run(SCENARIOS["mutable"], broken("Crashes")).verdict == FAILS


# The lists


def test_every_scenario_says_what_a_user_notices_and_what_it_needs() -> None:
    for scenario in SCENARIOS.values():
        assert len(scenario.text) > 100, scenario.name
        assert set(scenario.needs) <= set(ABILITIES), scenario.name


def test_what_a_layer_cannot_do_is_an_ability_with_a_reason() -> None:
    for layer in LAYERS:
        assert set(layer.cannot) <= set(ABILITIES), layer.name
        assert all(layer.cannot.values()), layer.name
    assert len({layer.name for layer in LAYERS}) == len(LAYERS)
    assert [layer for layer in LAYERS if layer.ours]


def test_a_layer_is_led_to_its_servers_in_its_own_way() -> None:
    ways = {layer.name: layer.leading_to(Way((("host", 1), ("host", 2)), database=3)).config for layer in LAYERS}
    assert [host["address"] for host in ways["redis"]["hosts"]] == ["redis://host:1/3", "redis://host:2/3"]
    assert ways["channels-redis"]["hosts"][1] == {"host": "host", "port": 2, "db": 3, "socket_timeout": None}
    assert ways["broadcaster-redis"]["url"] == "redis://host:1/3"
    assert MEMORY.leading_to(Way()) == MEMORY


# The page


def results_of(*outcomes: Outcome) -> tuple[list[Scenario], list[Compared], dict[tuple[str, str], Outcome]]:
    scenarios = list(SCENARIOS.values())[: len(outcomes)]
    peer = dataclasses.replace(MEMORY, name="peer", title="A peer", ours=False)
    results = {(s.name, "memory"): passes() for s in scenarios}
    results |= {(s.name, "peer"): outcome for s, outcome in zip(scenarios, outcomes, strict=True)}
    return scenarios, [MEMORY, peer], results


BENCHMARK = """
memory beside channels-memory
-----------------------------

========  ==========  =======  ========  =======  ========  =====  =========  =======
workload  unit        ours     spread    peer     spread    ratio  to reach   reached
========  ==========  =======  ========  =======  ========  =====  =========  =======
pingpong  per second  411,242  1 - 2     128,633  1 - 2     3.20   at least 3  yes
join      per second  100      1 - 2     200      1 - 2     0.50   none       n/a
xproc     per second  reaches no other process  n/a  reaches no other process  n/a  n/a  n/a  n/a
========  ==========  =======  ========  =======  ========  =====  =========  =======
"""


def test_the_page_says_what_came_out() -> None:
    scenarios, layers, results = results_of(none_of(37, 1_000, "lost"), passes("0.4 s"), cannot("has *no* such thing"))
    page = comparison_page(scenarios, layers, results, {"Python": "3"}, list(speeds(BENCHMARK)))
    check_rst(page)
    assert "**fails**: 37 of 1,000 lost" in page
    assert "passes: 0.4 s" in page
    assert "- cannot\n" in page
    assert "has *no* such thing" in page
    assert "Fails: A peer." in page
    assert "No layer here fails it." in page
    assert re.search(r"pingpong +per second +memory +411,242 +channels-memory +128,633 +3.2\n", page)
    assert "* ``memory`` is behind ``channels-memory`` in ``join``: 0.5 times." in page


def test_what_no_layer_of_a_table_can_do_is_not_in_it() -> None:
    scenarios, layers, results = results_of(passes(), passes())
    for layer in layers:
        results[scenarios[1].name, layer.name] = cannot("is not made for it")
    page = comparison_page(scenarios, layers, results, {}, [])
    table, _, described = page.partition("The situations\n")
    assert scenarios[0].title in table
    assert scenarios[1].title not in table
    assert scenarios[1].title in described
    assert "No layer here can do it." in described


def test_what_ours_fails_is_said_first_among_what_ours_do_worse() -> None:
    scenarios, layers, results = results_of(passes())
    results[scenarios[0].name, "memory"] = fails("3 of 600 lost")
    page = comparison_page(scenarios, layers, results, {}, [])
    check_rst(page)
    assert page.partition("What ours do worse\n")[2].lstrip("-\n").startswith("* **channel_layers: memory fails:")


def test_a_layer_cannot_write_markup_into_the_page() -> None:
    check_rst(f"{escaped('``*|x|_ `a <b> :c:`*')}\n")


def test_speeds_leave_out_what_a_pair_cannot_do() -> None:
    assert [(s.figure, s.ratio, s.is_worse) for s in speeds(BENCHMARK)] == [
        ("pingpong", 3.2, False),
        ("join", 0.5, True),
    ]
    assert list(speeds("")) == []


def test_the_benchmark_page_can_be_read() -> None:
    found = list(speeds((ROOT / "docs/benchmarks/results.rst").read_text(encoding="utf-8")))
    assert {"memory", "redis"} <= {speed.layer for speed in found}


# The command


def test_a_part_is_run_and_printed_and_the_page_stays() -> None:
    page = ROOT / "docs/comparison.rst"
    before = page.read_text(encoding="utf-8") if page.exists() else None
    command = [sys.executable, "-m", "compare", "--layer", "memory", "--scenario", "mutable", "--scenario", "workers"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"\[1/1\] +\d+ s  mutable, memory: passes", ended.stderr)
    assert re.search(r"^memory +1 +0 +1$", ended.stdout, re.MULTILINE)
    assert (page.read_text(encoding="utf-8") if page.exists() else None) == before


def test_a_whole_run_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "folder" / "page.rst"
    options = ["--output", str(page), "--speed", str(tmp_path / "nothing"), "--no-measuring"]
    assert main(options, [MEMORY], {"mutable": SCENARIOS["mutable"]}) == 0
    text = page.read_text(encoding="utf-8")
    check_rst(text)
    assert "Not measured yet" in text
    assert str(page) in capsys.readouterr().out


def test_the_exit_status_tells_that_one_of_ours_failed(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [broken("Raises")]
    assert main(["--scenario", "mutable"], layers) == 1
    assert "FAILED: broken does not keep what it claims: mutable: OSError" in capsys.readouterr().out
    assert main(["--scenario", "mutable"], [dataclasses.replace(layers[0], ours=False)]) == 0


def test_runs_at_one_time_are_each_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [MEMORY, broken("Raises"), broken("ForgetsCancelledReceive")]
    layers[2] = dataclasses.replace(layers[2], name="forgets")
    names = ["mutable", "unknown-option", "cancelled-receive"]
    options = [option for name in names for option in ("--scenario", name)]
    assert main([*options, "--at-once", "3"], layers) == 1
    captured = capsys.readouterr()
    told = re.findall(r"^\[(\d)/9\] +\d+ s  (\S+), (\S+): \w+", captured.err, re.MULTILINE)
    assert [number for number, _, _ in told] == [*"123456789"]
    assert {(name, layer) for _, name, layer in told} == {(name, layer.name) for name in names for layer in layers}
    assert re.search(r"^memory +3 +0 +0$", captured.out, re.MULTILINE)
    assert re.search(r"^forgets +2 +1 +0$", captured.out, re.MULTILINE)


def test_an_interrupt_begins_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def interrupted(scenario: Scenario, layer: Compared, **_: object) -> Outcome:
        begun.append(layer.name)
        time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(compare.run, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["--scenario", "mutable", "--at-once", "1"], [dataclasses.replace(MEMORY, name=str(n)) for n in range(50)])
    assert len(begun) < 50


def test_a_missing_package_is_named_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    peer = dataclasses.replace(MEMORY, name="peer", backend="no_such_package.Layer")
    assert main([], [peer]) == 1
    assert "what peer need; pip install" in capsys.readouterr().err


def test_cannot_is_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenario", "restart"], [broken("Crashes")]) == 0
    assert re.search(rf"{CANNOT}\n.*\nbroken +0 +0 +1\n", capsys.readouterr().out)
