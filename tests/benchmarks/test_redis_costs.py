"""What the benchmark does with Redis. How much anything costs, no test asks, unless it is known by count."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stand_in_layers
from benchmark_helpers import cells, check_rst, require, require_redis, stand_in

from benchmarks.child import Round
from benchmarks.command import main
from benchmarks.contenders import CONTENDERS, Contender, without_read_timeout
from benchmarks.errors import WrongResultError
from benchmarks.redis_server import private_redis

SMALL = {"sends": 2, "small_group": 3, "large_group": 30, "waiting": 12, "idle_seconds": 0.2}
SMALL |= {"processes": 2, "members_each": 5}


@pytest.fixture(autouse=True)
def _redis() -> None:
    require_redis()


def peer(**changes: object) -> Contender:
    (redis,) = (contender for contender in CONTENDERS if contender.name == "redis")
    assert redis.peer
    return replace(redis.peer, **changes)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_private_redis_is_one_of_its_own_and_ends() -> None:
    with private_redis() as first, private_redis() as second:
        ports = [server["hosts"][0][1] for server in (first, second)]
        assert ports[0] != ports[1]
        for port in ports:
            connect(port).close()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            connect(port)


@pytest.mark.parametrize("layer", ["redis", "channels-redis"])
@pytest.mark.parametrize("workload", ["pingpong", "xproc", "latency"])
def test_redis_layers_run_rounds(layer: str, workload: str) -> None:
    contenders = {each.name: each for contender in CONTENDERS for each in contender.pair}
    with private_redis() as server:
        result = Round(contenders[layer].reaching(server), workload, seconds=0.01, deadline=100).run()
    assert min(result.values()) > 0


def test_the_peer_may_wait_longer_than_the_client_would() -> None:
    hosts = without_read_timeout({"hosts": [("127.0.0.1", 1)]})["hosts"]
    assert hosts == [{"host": "127.0.0.1", "port": 1, "socket_timeout": None}]


def test_a_meter_counts_bytes_and_commands_and_knows_its_connections() -> None:
    from benchmarks.meter import Meter, Traffic

    ping = b"*1\r\n$4\r\nPING\r\n"
    clients = b"*2\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n"
    with private_redis() as server, Meter(server["hosts"][0][1]) as meter:
        ((_, port),) = meter.server["hosts"]
        with closing(connect(port)) as client:
            assert meter.traffic == Traffic()
            client.sendall(ping + ping[:5])
            assert client.recv(100) == b"+PONG\r\n"
            client.sendall(ping[5:])
            assert client.recv(100) == b"+PONG\r\n"
            assert meter.traffic == Traffic(written=2 * len(ping), read=14, commands=2)
            before = meter.traffic
            client.sendall(clients)
            answer = client.recv(10_000)
            assert meter.traffic - before == Traffic(written=len(clients), read=len(answer), commands=1)
            assert (meter.traffic - before).bytes == len(clients) + len(answer)
            (address,) = meter.addresses
            assert f" addr={address} ".encode() in answer


def test_costs_are_measured_of_both_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import redis_costs

    monkeypatch.setattr(redis_costs, "QUICK_COSTS", redis_costs.CostEffort(**SMALL))
    ours = peer(name="ours", peer=peer())
    assert main(["--quick", "--costs", "only", "--no-write"], [replace(stand_in(), name="other"), ours]) == 0
    captured = capsys.readouterr()
    assert "[6/6]" in captured.err
    assert "Costs: ours beside channels-redis" in captured.out
    check_rst(captured.out)
    table, _, _ = captured.out.partition("---\n\n")[2].partition("\n\n")
    rows = {(name, unit): numbers for name, unit, *numbers in cells(table)}
    assert rows["send", "commands"] == ["4", "4", "1"]  # what channels_redis is known to need
    small, large = (f"group_send to {members} members of one process" for members in (3, 30))
    for unit in ("bytes, sender", "bytes, receiver"):
        assert number(rows[large, unit][0]) > number(rows[small, unit][0]) > 0
    assert rows[large, "commands"] == rows[small, "commands"]
    assert number(rows["group_send to 10 members of 2 processes", "us of the server"][0]) > 0
    assert ("12 waiting receivers", "% of a core") in rows


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_costs_join_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require("pygal")
    from benchmarks import redis_costs
    from benchmarks.redis_costs import Cost, Costs

    ours = peer(name="ours", peer=peer())
    costs = Costs(ours, ours.peer, (Cost("send", "commands", 1.05, 4), Cost("group_send", "bytes", 345, 0)))
    monkeypatch.setattr(redis_costs, "measure_costs", lambda *_: [costs])
    monkeypatch.setattr(Round, "run", lambda this: {this.workload: 1.0})
    assert main(["--costs", "--rounds", "1", "--workload", "pingpong", "--output", str(tmp_path)], [ours]) == 0
    page = (tmp_path / "results.rst").read_text(encoding="utf-8")
    assert page.index("ours beside channels-redis") < page.index("Costs: ours") < page.index("Workloads\n")
    assert "redis-py 8" in page  # why the peer has a setting of its own
    check_rst(page)
    assert cells(page[page.index("Costs: ") :].partition("-\n\n")[2].partition("\n\n")[0]) == [
        ["send", "commands", "1.05", "4", "0.263"],
        ["group_send", "bytes", "345", "0", "n/a"],
    ]


def test_a_peer_that_gives_a_wrong_result_has_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import redis_costs

    async def told(contender: Contender, server: object, effort: object) -> dict[tuple[str, str], float]:
        if contender.name == "channels-redis":
            raise WrongResultError("expected {'n': 1}, got nothing")
        return {("a send", "bytes"): 7}

    async def sized(contender: Contender, server: object, effort: object) -> dict[tuple[str, str], float]:
        return {("a name", "bytes"): len(contender.name)}

    def at_once(cost: redis_costs.Measurement, *arguments: Any, deadline: float) -> Any:
        return asyncio.run(cost(*arguments))

    monkeypatch.setattr(redis_costs, "COSTS", {told: 1.0, sized: 1.0})
    monkeypatch.setattr(redis_costs, "in_own_process", at_once)
    assert main(["--costs", "only"], [peer(name="ours", peer=peer())]) == 0
    captured = capsys.readouterr()
    assert "[4/4]" in captured.err
    check_rst(captured.out)
    assert cells(captured.out.partition("---\n\n")[2].partition("\n\n")[0]) == [
        ["a send", "bytes", "7", "wrong", "n/a"],
        ["a name", "bytes", "4", "14", "0.286"],
    ]
    assert "channels-redis, cost of told: expected {'n': 1}, got nothing" in captured.out


def test_rates_are_written_though_a_cost_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    require("pygal")
    from benchmarks import redis_costs

    def fail(*_: object) -> None:
        raise WrongResultError("ours, cost of wire: got nothing")

    monkeypatch.setattr(redis_costs, "measure_costs", fail)
    monkeypatch.setattr(Round, "run", lambda this: {this.workload: 1.0})
    ours = peer(name="ours", peer=peer())
    assert main(["--costs", "--rounds", "1", "--workload", "pingpong", "--output", str(tmp_path)], [ours]) == 1
    assert "a wrong result, so there are no costs: ours, cost of wire: got nothing" in capsys.readouterr().err
    page = (tmp_path / "results.rst").read_text(encoding="utf-8")
    assert "pingpong" in page
    assert "Costs" not in page


def test_costs_need_a_layer_on_redis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--costs", "only"], [stand_in()]) == 1
    assert "--costs: none of these layers runs on Redis" in capsys.readouterr().err


def test_a_layer_that_misses_a_message_has_no_costs() -> None:
    from benchmarks import redis_costs
    from benchmarks.child import in_own_process

    idle = stand_in(stand_in_layers.LossyLayer)
    effort = redis_costs.CostEffort(**SMALL)
    with pytest.raises(WrongResultError, match="not finished after 2 s"):
        in_own_process(redis_costs.idle, idle, {}, effort, deadline=2)
