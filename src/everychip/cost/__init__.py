"""Cost: what a network takes in cells, conversions and writes, and roughly in energy, time and area."""

from everychip.cost.components import Components
from everychip.cost.counting import Counts
from everychip.cost.estimate import Cost, estimate
from everychip.cost.exits import ExitCost, exit_cost

__all__ = ["Components", "Cost", "Counts", "ExitCost", "estimate", "exit_cost"]
