"""All scenarios, in the order of the page."""

from compare.scenario import ENTERED, Scenario
from compare.scenarios import clocks, crowds, delivery, isolation, loops, outages, receiving, rules

_MODULES = (receiving, delivery, outages, clocks, crowds, isolation, rules, loops)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in _MODULES
    for scenario in ENTERED.values()
    if scenario.work.__module__ == module.__name__
}
