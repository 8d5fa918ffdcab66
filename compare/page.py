"""The results as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.report import simple_table, title
from compare.layers import Compared
from compare.notes import INTRODUCTION, METHOD, SPEED, WORSE
from compare.run import Results
from compare.scenario import CANNOT, FAILS, PASSES, Outcome, Scenario
from compare.speed import Speed


def comparison_page(
    scenarios: Sequence[Scenario],
    layers: Sequence[Compared],
    results: Results,
    facts: Mapping[str, str],
    measured: Sequence[Speed],
) -> str:
    """The whole page."""
    parts = [
        ".. Written by python -m compare: the next run replaces it.\n",
        title("Side by side", "="),
        INTRODUCTION.format(count=len(scenarios)),
        title("What each layer does", "-"),
        *_matrices(scenarios, layers, results),
        title("The situations", "-"),
        *(_described(scenario, layers, results) for scenario in scenarios),
        title("Speed", "-"),
        *_speed(measured),
        title("What ours do worse", "-"),
        *_worse(measured, scenarios, layers, results),
        ".. _comparison-layers:\n",
        title("The layers, and what their authors say", "-"),
        *(_layer(layer, scenarios, results) for layer in layers),
        title("How this is run", "-"),
        METHOD,
        "\n".join(f":{name}: {value}" for name, value in facts.items()) + "\n",
    ]
    return "\n".join(parts)


def _matrices(scenarios: Sequence[Scenario], layers: Sequence[Compared], results: Results) -> Iterator[str]:
    for family in dict.fromkeys(layer.family for layer in layers):
        columns = [layer for layer in layers if layer.family == family]
        yield title(family, "~")
        lines = [".. list-table::", "   :header-rows: 1", f"   :widths: 28{' 18' * len(columns)}", ""]
        rows = [["Situation", *(layer.title for layer in columns)]]
        for scenario in scenarios:
            outcomes = [results[scenario.name, layer.name] for layer in columns]
            if any(outcome.verdict != CANNOT for outcome in outcomes):
                rows.append([scenario.title, *map(_cell, outcomes)])
        for first, *others in rows:
            lines += [f"   * - {first}", *(f"     - {cell}" for cell in others)]
        yield "\n".join(lines) + "\n"


def _cell(outcome: Outcome) -> str:
    if outcome.verdict == FAILS:
        return f"**fails**: {escaped(outcome.figure)}"
    if outcome.verdict == PASSES and outcome.figure and not outcome.figure.startswith("0 of"):
        return f"passes: {escaped(outcome.figure)}"
    return outcome.verdict


def escaped(text: str) -> str:
    """What a layer said, without a meaning in reStructuredText."""
    return "".join(f"\\{letter}" if letter in "\\*`|_:<>" else letter for letter in text)


def _described(scenario: Scenario, layers: Sequence[Compared], results: Results) -> str:
    verdicts = {layer.title: results[scenario.name, layer.name].verdict for layer in layers}
    failed = [name for name, verdict in verdicts.items() if verdict == FAILS]
    if failed:
        outcome = f"Fails: {', '.join(failed)}."
    elif PASSES in verdicts.values():
        outcome = "No layer here fails it."
    else:
        outcome = "No layer here can do it."
    seen = f"Reported in {scenario.seen}; " if scenario.seen else ""
    text = f"{scenario.text}\n\n{outcome} ({seen}``--scenario {scenario.name}``)\n"
    return f"{title(scenario.title, '~')}\n{text}"


def _speed(measured: Sequence[Speed]) -> Iterator[str]:
    if not measured:
        yield "Not measured yet: ``make bench`` does it.\n"
        return
    yield SPEED
    rows = [
        (s.figure, s.unit, s.layer, s.ours, s.peer, s.theirs, f"{s.ratio:g}{' (quick)' * s.is_quick}") for s in measured
    ]
    yield simple_table(("workload", "unit", "layer", "ours", "peer", "the peer's", "ratio"), rows)


def _worse(
    measured: Iterable[Speed], scenarios: Sequence[Scenario], layers: Sequence[Compared], results: Results
) -> Iterator[str]:
    slower = [s for s in measured if s.is_worse]
    broken = [
        f"* **{layer.title} fails: {scenario.title.lower()}** ({escaped(results[scenario.name, layer.name].figure)})."
        for layer in layers
        if layer.ours
        for scenario in scenarios
        if results[scenario.name, layer.name].verdict == FAILS
    ]
    lines = [f"* ``{s.layer}`` is behind ``{s.peer}`` in ``{s.figure}``: {s.ratio:g} times." for s in slower]
    if broken or lines:
        yield "\n".join(broken + lines) + "\n"
    yield WORSE


def _layer(layer: Compared, scenarios: Sequence[Scenario], results: Results) -> str:
    outcomes = [results[scenario.name, layer.name] for scenario in scenarios]
    reasons = dict.fromkeys(outcome.figure for outcome in outcomes if outcome.verdict == CANNOT)
    lines = [f"{layer.title} (``--layer {layer.name}``)", f"    ``{_adapted(layer)}``"]
    if layer.note:
        lines[-1] += f", {layer.note}"
    lines[-1] += "."
    if layer.limits:
        lines.append(f"    Its documentation says: {layer.limits}.")
    if reasons:
        lines.append(f"    *Cannot* stands for: it {'; '.join(reasons)}.")
    return "\n".join(lines) + "\n"


def _adapted(layer: Compared) -> str:
    return f"{layer.library}, through {layer.backend}" if layer.library else layer.backend
