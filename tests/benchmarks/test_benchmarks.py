"""``python -m benchmarks``: that it measures what it says. How fast anything is, no test asks."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import stand_in_layers
from benchmark_helpers import cells, check_rst, comparison, require, stand_in

from benchmarks.catalogue import WORKLOADS, concerns, figures, suits
from benchmarks.child import Round
from benchmarks.command import main
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.errors import WrongResultError
from benchmarks.measure import QUICK, Comparison, Series
from benchmarks.progress import Progress
from benchmarks.report import results_page, results_table, summary_table
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import INSIDE

ROOT = Path(__file__).parents[2]
SMALL: dict[str, dict[str, int]] = {
    "pingpong": {"trips": 10},
    "conc100": {"channel_count": 3, "per_channel": 5},
    "fan1000": {"members": 10, "sends": 2},
    "idle1k": {"idle": 20, "trips": 5},
    "idle10k": {"idle": 20, "trips": 5},
    "idle100k": {"idle": 20, "trips": 5},
    "join": {"joins": 10},
}


def check_svg(picture: bytes) -> list[str]:
    """Static and complete in itself; returns its texts."""
    elements = list(ElementTree.fromstring(picture).iter())
    assert not [element for element in elements if element.tag.endswith("}script")]
    assert not [name for element in elements for name in element.attrib if name.endswith(("href", "src"))]
    assert b"url(" not in picture
    assert b"@import" not in picture
    return [element.text for element in elements if element.tag.endswith("}text") and element.text]


def test_the_summary_has_each_layer_once_and_what_all_are_measured_by() -> None:
    rows = []
    for contender in CONTENDERS:
        for name in WORKLOADS:
            rows += [
                Comparison(contender, contender.peer or contender, figure, Series((n,)), Series((1.0,)))
                for n, figure in enumerate(figures(name), 7)
                if concerns(name, contender) and suits(name, contender)
            ]
    table = summary_table(rows)
    assert table.splitlines()[1].split() == ["workload", "unit", "memory", "redis", "redis-pubsub", "redis-3", "ipc"]
    assert [row[0] for row in cells(table)] == [
        *("pingpong", "conc100", "fan1000", "idle10k", "join", "xproc", "latency p50", "latency p99")
    ]
    assert cells(table)[0][2:] == ["7"] * 5
    assert cells(table)[-1][2:] == ["n/a", *["8"] * 4]


# The whole command


def test_the_command_measures_and_writes_its_page(tmp_path: Path) -> None:
    for module in ("channels", "pygal", "docutils"):
        require(module)
    command = [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--scale", "0.01"]
    command += ["--layer", "memory", "--workload", "pingpong", "--output", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr

    # With one round, the rate that the child reported is the median and both ends of the spread.
    reported = re.findall(
        r"^\[(\d)/2\] .* s  (\S+), pingpong, round 1 of 1: ([\d,]+) per second$", run.stderr, re.MULTILINE
    )
    assert [(number, layer) for number, layer, _ in reported] == [("1", "memory"), ("2", "channels-memory")]
    ours, theirs = (rate for _, _, rate in reported)
    page = (tmp_path / "results.rst").read_text(encoding="utf-8")
    (row,) = cells(page[page.index("===  ") : page.index("Workloads")])
    summary = (tmp_path / "summary.txt").read_text(encoding="utf-8")
    assert cells(summary) == [["pingpong", "per second", ours]]
    assert row[:6] == ["pingpong", "per second", ours, f"{ours} - {ours}", theirs, f"{theirs} - {theirs}"]
    assert "  ".join(row[:1]) in run.stdout
    ratio = int(ours.replace(",", "")) / int(theirs.replace(",", ""))
    assert float(row[6].replace(",", "")) == pytest.approx(ratio, abs=0.006)

    check_rst(page)
    assert ".. image:: ratios.svg" in page
    assert "memory: pingpong" in check_svg((tmp_path / "ratios.svg").read_bytes())


def test_no_write_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--quick", "--rounds", "1", "--scale", "0.01", "--workload", "join", "--no-write"]
    assert main([*options, "--output", str(tmp_path / "page")], [stand_in()]) == 0
    assert not (tmp_path / "page").exists()
    assert "ours beside peer" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "choice"), [("--workload", "pingpong"), ("--layer", "memory")])
def test_an_unknown_name_lists_the_choices(option: str, choice: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([option, "nonsense"])
    error = capsys.readouterr().err
    assert f"argument {option}" in error
    assert "nonsense" in error
    assert choice in error.partition("invalid choice")[2]


@pytest.mark.parametrize("option", [("--rounds", "0"), ("--rounds", "many"), ("--scale", "0"), ("--scale", "nan")])
def test_a_bad_number_is_refused(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(list(option))
    assert f"argument {option[0]}: {option[1]!r} is not a number" in capsys.readouterr().err


def test_a_missing_package_is_named_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    peer = Contender("peer", "no_such_package.Layer")
    assert main(["--no-write"], [stand_in(peer=peer)]) == 1
    error = capsys.readouterr().err
    assert "no_such_package" in error
    assert "pip install" in error
    assert "round" not in error


def test_a_missing_program_is_named_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-write"], [stand_in(programs=("no-such-program",))]) == 1
    error = capsys.readouterr().err
    assert "not installed: no-such-program" in error
    assert "round" not in error


# Rounds


def test_each_round_of_ours_is_followed_by_one_of_the_peer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = iter([30.0, 10.0, 50.0, 5.0, 40.0, 20.0])
    order = []

    def run(this: Round) -> dict[str, float]:
        order.append(this.contender.name)
        return {"pingpong": next(rates)}

    monkeypatch.setattr(Round, "run", run)
    assert main(["--no-write", "--rounds", "3", "--workload", "pingpong"], [stand_in()]) == 0
    assert order == ["ours", "peer"] * 3
    (row,) = cells(capsys.readouterr().out.partition("---\n\n")[2])
    assert row == ["pingpong", "per second", "40", "30 - 50", "10", "5 - 20", "4.00", "none", "n/a"]


def test_each_round_has_a_process_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    peer = Contender("peer", "stand_in_layers.CorrectLayer", config={"log": str(log)})
    options = ["--no-write", "--quick", "--scale", "0.01", "--rounds", "2", "--workload", "pingpong"]
    assert main(options, [stand_in(config={"log": str(log)}, peer=peer)]) == 0
    processes = log.read_text(encoding="utf-8").split()
    assert len(processes) == len(set(processes)) == 4
    assert str(os.getpid()) not in processes


def test_a_shared_layer_is_two_objects_led_to_one_server(tmp_path: Path) -> None:
    logs = {name: tmp_path / name for name in ("ours", "peer")}
    options = {"shared": True, "server": stand_in_layers.server}
    peer = Contender("peer", "stand_in_layers.SharedLayer", config={"log": str(logs["peer"])}, **options)
    ours = stand_in(stand_in_layers.SharedLayer, config={"log": str(logs["ours"])}, peer=peer, **options)
    stand_in_layers.starts.clear()
    run = ["--no-write", "--quick", "--scale", "0.01", "--rounds", "1", "--workload", "pingpong", "--workload", "join"]
    assert main(run, [ours]) == 0
    assert stand_in_layers.starts == ["start", "stop"]
    for log in logs.values():
        first, second, third, fourth = log.read_text(encoding="utf-8").split()
        assert first == second != third == fourth


# Wrong results


def test_a_lossy_layer_ends_the_run_with_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lossy = stand_in(stand_in_layers.LossyLayer)
    options = ["--quick", "--rounds", "1", "--scale", "0.01", "--workload", "conc100", "--no-write"]
    assert main([*options, "--output", str(tmp_path)], [lossy]) == 1
    captured = capsys.readouterr()
    assert "a wrong result, so there are no numbers: ours, conc100: expected {" in captured.err
    assert captured.out == ""


def test_a_round_that_waits_for_a_lost_message_ends_with_an_error() -> None:
    lossy = stand_in(stand_in_layers.LossyLayer)
    with pytest.raises(WrongResultError, match=r"ours, pingpong: not finished after 1 s: a message was lost"):
        Round(lossy, "pingpong", seconds=0.01, deadline=1).run()


def test_every_workload_inside_a_process_has_a_small_form() -> None:
    assert list(SMALL) == list(INSIDE)


@pytest.mark.parametrize("workload", SMALL)
def test_a_correct_layer_passes_the_checks(workload: str) -> None:
    layer, watch = stand_in_layers.CorrectLayer(), Stopwatch(0.001)
    asyncio.run(asyncio.wait_for(INSIDE[workload](layer, layer, watch, **SMALL[workload]), 60))
    assert watch.operations > 0
    assert watch.rate > 0


@pytest.mark.parametrize("workload", SMALL)
@pytest.mark.parametrize("layer_class", stand_in_layers.BrokenLayer.__subclasses__())
def test_a_broken_layer_fails_the_checks(workload: str, layer_class: type[stand_in_layers.BrokenLayer]) -> None:
    layer = layer_class()
    run = INSIDE[workload](layer, layer, Stopwatch(0.001), **SMALL[workload])
    with pytest.raises((WrongResultError, asyncio.TimeoutError)):
        asyncio.run(asyncio.wait_for(run, 1))


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_targets_belong_to_figures(contender: Contender) -> None:
    assert set(contender.targets) <= {figure.name for workload in WORKLOADS for figure in figures(workload)}


# Numbers


def test_a_ratio_is_the_quotient_of_the_medians() -> None:
    measured = comparison([10, 1000, 30], [5, 4, 100, 6])
    assert measured.ours.median == 30
    assert measured.ours.spread == (10, 1000)
    assert measured.theirs.median == 5.5
    assert measured.ratio == pytest.approx(30 / 5.5)


@pytest.mark.parametrize(
    ("rate", "workload", "reached"), [(30, "pingpong", True), (29.9, "pingpong", False), (30, "join", None)]
)
def test_a_target_is_reached_at_the_target(rate: float, workload: str, reached: bool | None) -> None:
    assert comparison([rate], [10], workload).reached is reached


def test_the_first_batch_only_warms_up() -> None:
    watch = Stopwatch(0)
    batches = 0
    while watch.more():
        batches += 1
        with watch.batch(5):
            pass
    assert (batches, watch.operations) == (2, 5)


# What one sees


def test_the_table_is_aligned_and_the_page_is_valid() -> None:
    comparisons = [comparison([1234567, 1000000], [20000]), comparison([1], [2], "join")]
    pingpong = "pingpong  per second  1,117,284  1,000,000 - 1,234,567  20,000  20,000 - 20,000  55.86  at least 3  yes"
    join = "join  per second  1  1 - 1  2  2 - 2  0.50  none  n/a"
    assert cells(results_table(comparisons)) == [pingpong.split("  "), join.split("  ")]
    facts = {"Processor": "A *strange* one: 2 cores", "Date": "2001-01-01"}
    check_rst(results_page(comparisons, QUICK, facts, chart="ratios.svg", is_rough=True))


def test_the_chart_shows_ratios_below_one_and_without_a_target() -> None:
    require("pygal")
    from benchmarks.chart import ratio_chart

    texts = check_svg(ratio_chart([comparison([5], [10], "join"), comparison([4000], [10])]))
    assert {"ours: join", "0.5", "ours: pingpong", "400", "0.1", "1", "1,000"} <= set(texts)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "lines"), [(io.StringIO(), 2), (Terminal(), 1)])
def test_progress_is_a_line_per_round_or_one_line_that_changes(stream: io.StringIO, lines: int) -> None:
    progress = Progress(stream)
    progress.expect(2)
    for number in (1, 2):
        progress.start(f"memory, join, round {number} of 2")
        progress.done("7/s")
    progress.end()
    written = stream.getvalue()
    assert written.count("\n") == lines
    assert re.search(r"\[2/2\] +0 s  memory, join, round 2 of 2: 7/s", written)
