"""The workloads between two processes: their checks, the line between the two, and how a round ends."""

from __future__ import annotations

import asyncio
import os
import socket
from itertools import chain
from pathlib import Path

import pytest
import stand_in_layers
from benchmark_helpers import cells, check_rst, comparison, require, stand_in

from benchmarks.across import ACROSS, Across, Crowd, Latency, Xproc, percentile
from benchmarks.child import Round
from benchmarks.command import main
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.errors import WrongResultError
from benchmarks.figures import Figure
from benchmarks.line import Line
from benchmarks.measure import QUICK, Comparison, Series, Skipped
from benchmarks.report import results_page, results_table
from benchmarks.stopwatch import Stopwatch

SMALL: dict[str, Across] = {
    "xproc": Xproc(senders=3, each=5),
    "latency": Latency(rate=1_000, warm_up=2, longer=1),
    "crowd": Crowd(receivers=3, members=4, sends=2),
}
LATENCY = Figure("latency p50", "latency", "us", less_is_better=True)


def datagrams(layer_class: type = stand_in_layers.DatagramLayer, **options: object) -> Contender:
    """A contender whose processes reach each other, beside a correct peer."""
    shared = {"config": {}, "shared": True, "server": stand_in_layers.folder}
    peer = Contender("peer", "stand_in_layers.DatagramLayer", **shared)
    return stand_in(layer_class, **{**shared, "peer": peer, **options})


async def run_both_sides(
    workload: Across, layer: stand_in_layers.CorrectLayer, seconds: float = 30
) -> dict[str, float]:
    """In one process, which takes no second to start.

    :param seconds: after which a message is lost.
    """
    pairs = [[await Line.over(end) for end in socket.socketpair()] for _ in range(workload.receivers)]
    sending = workload.send(layer, [ours for ours, _ in pairs], Stopwatch(0.02))
    try:
        result, *_ = await asyncio.wait_for(
            asyncio.gather(sending, *(workload.receive(layer, theirs) for _, theirs in pairs)), seconds
        )
        return result
    finally:
        for line in chain(*pairs):
            await line.close()


# What is checked


def test_every_workload_across_processes_has_a_small_form() -> None:
    assert list(SMALL) == list(ACROSS)


@pytest.mark.parametrize("workload", SMALL)
def test_a_correct_layer_passes_the_checks(workload: str) -> None:
    result = asyncio.run(run_both_sides(SMALL[workload], stand_in_layers.CorrectLayer()))
    assert list(result) == [figure.name for figure in SMALL[workload].figures]
    assert min(result.values()) > 0


@pytest.mark.parametrize("workload", SMALL)
@pytest.mark.parametrize("layer_class", stand_in_layers.BrokenLayer.__subclasses__())
def test_a_broken_layer_fails_the_checks(workload: str, layer_class: type[stand_in_layers.BrokenLayer]) -> None:
    with pytest.raises((WrongResultError, asyncio.TimeoutError)):
        asyncio.run(run_both_sides(SMALL[workload], layer_class(), seconds=1))


def test_senders_that_overtake_each_other_break_no_rule() -> None:
    class OvertakingLayer(stand_in_layers.CorrectLayer):
        async def send(self, channel: str, message: stand_in_layers.Message) -> None:
            for _ in range(3 - message["n"] % 3):
                await asyncio.sleep(0)
            await super().send(channel, message)

    asyncio.run(run_both_sides(SMALL["xproc"], OvertakingLayer()))


def test_a_message_that_nobody_numbered_is_named() -> None:
    with pytest.raises(WrongResultError, match=r"nothing like this was sent: \{'text': 'x'\}"):
        Xproc().sender_of({"text": "x"})


@pytest.mark.parametrize(("percent", "value"), [(50, 500), (99, 990), (100, 1_000)])
def test_percentiles(percent: int, value: int) -> None:
    assert percentile(list(range(1, 1_001)), percent) == value
    assert percentile([7], percent) == 7


# The line


def test_a_line_carries_values_complaints_and_its_end() -> None:
    async def run() -> None:
        here, there = [await Line.over(end) for end in socket.socketpair()]
        large = list(range(100_000))

        async def talk() -> None:
            for value in ("text", None, large):
                await here.tell(value)
            await here.complain(WrongResultError("lost"))
            await here.close()

        talking = asyncio.create_task(talk())
        assert [await there.hear() for _ in range(3)] == ["text", None, large]
        with pytest.raises(WrongResultError, match="lost"):
            await there.hear()
        with pytest.raises(EOFError, match="ended too early"):
            await there.hear()
        await there.wait_for_end()
        await talking
        await there.close()

    asyncio.run(run())


# Two processes


@pytest.mark.parametrize("workload", ["xproc", "latency"])
def test_sender_and_receiver_are_two_processes(workload: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with stand_in_layers.folder() as server:
        contender = datagrams(config={"log": str(log)}).reaching(server)
        result = Round(contender, workload, seconds=0.01, deadline=60).run()
    assert list(result) == [figure.name for figure in ACROSS[workload].figures]
    processes = log.read_text(encoding="utf-8").split()
    assert len(processes) == len({*processes, str(os.getpid())}) - 1 == 2


def test_what_processes_inherit_they_share() -> None:
    (queue,) = (each.peer for each in CONTENDERS if each.name == "ipc-queue")
    assert Round(queue, "xproc", seconds=0.01, deadline=60).run()["xproc"] > 0


def test_what_the_receiving_process_finds_wrong_ends_the_round() -> None:
    with stand_in_layers.folder() as server:
        contender = datagrams(stand_in_layers.ForgetfulDatagramLayer).reaching(server)
        with pytest.raises(WrongResultError, match=r"ours, xproc: expected .*'n': 50.*, received .*'n': 70"):
            Round(contender, "xproc", seconds=0.01, deadline=60).run()


def test_a_receiving_process_that_fails_ends_the_round(capfd: pytest.CaptureFixture[str]) -> None:
    with stand_in_layers.folder() as server:
        contender = datagrams(stand_in_layers.FailingDatagramLayer).reaching(server)
        with pytest.raises((EOFError, OSError)):
            Round(contender, "latency", seconds=0.01, deadline=60).run()
    assert "OSError: the server is away" in capfd.readouterr().err


def test_a_receiver_that_waits_for_ever_ends_with_the_round() -> None:
    with stand_in_layers.folder() as server:
        contender = datagrams(stand_in_layers.SilentDatagramLayer).reaching(server)
        with pytest.raises(WrongResultError, match=r"ours, xproc: not finished after 3 s"):
            Round(contender, "xproc", seconds=0.01, deadline=3).run()


# What one sees


def test_a_layer_of_one_process_skips_them_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--no-write", "--quick", "--rounds", "1", "--scale", "0.01"]
    workloads = ["--workload", "pingpong", "--workload", "xproc", "--workload", "latency"]
    assert main([*options, *workloads], [stand_in()]) == 0
    captured = capsys.readouterr()
    assert "[2/2]" in captured.err
    _, *skipped = cells(captured.out.partition("---\n\n")[2])
    reason = ["reaches no other process", "n/a"]
    assert skipped == [
        ["xproc", "per second", *reason, *reason, "n/a", "n/a", "n/a"],
        ["latency p50", "us", *reason, *reason, "n/a", "n/a", "n/a"],
        ["latency p99", "us", *reason, *reason, "n/a", "n/a", "n/a"],
    ]


def test_nothing_but_skipped_workloads_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-write", "--workload", "xproc"], [stand_in()]) == 1
    assert "need two processes" in capsys.readouterr().err


@pytest.mark.parametrize(("ours", "reached"), [(55, True), (55.1, False), (10, True)])
def test_of_a_latency_less_is_better(ours: float, reached: bool) -> None:
    contender = datagrams(targets={"latency p50": 0.55})
    measured = Comparison(contender, contender.peer, LATENCY, Series((ours,)), Series((100.0,)))
    assert measured.reached is reached
    (row,) = cells(results_table([measured]))
    assert row[-3:] == [f"{ours / 100:.2f}", "at most 0.55", "yes" if reached else "no"]


def test_the_chart_and_the_page_show_both_kinds() -> None:
    require("pygal")
    from benchmarks.chart import ratio_chart

    contender = datagrams(targets={"latency p50": 0.5}, note="a *note*")
    latency = Comparison(contender, contender.peer, LATENCY, Series((25.0,)), Series((100.0,)))
    picture = ratio_chart([comparison([5], [10], "join"), latency])
    for text in (b"ours: latency p50", b">4<", b">2<", b">0.5<"):  # a quarter of the latency is four times as fast
        assert text in picture
    rows = [latency, Skipped(stand_in(), stand_in(), LATENCY)]
    check_rst(results_page(rows, QUICK, {"Date": "2001-01-01"}, chart="ratios.svg", is_rough=True))
