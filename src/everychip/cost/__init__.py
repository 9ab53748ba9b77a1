"""Cost: what a network takes in cells, conversions and writes, and roughly in energy, time and area."""

from everychip.cost.answers import Answer, Answers, answers
from everychip.cost.components import Components
from everychip.cost.counting import Counts
from everychip.cost.estimate import Cost, estimate
from everychip.cost.exits import ExitCost, exit_cost
from everychip.cost.tradeoff import Tradeoff, tradeoff

__all__ = [
    "Answer",
    "Answers",
    "Components",
    "Cost",
    "Counts",
    "ExitCost",
    "Tradeoff",
    "answers",
    "estimate",
    "exit_cost",
    "tradeoff",
]
