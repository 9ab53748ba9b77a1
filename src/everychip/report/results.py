"""Results: what a run or a study folder holds, read into memory and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everychip.hardware.coverage import Coverage
from everychip.scores import ACCURACY, Score

if TYPE_CHECKING:
    from everychip.study.asked import Contrasts
    from everychip.study.records import Answered
    from everychip.study.sensitivity import SensitivityRecord

CONTEXT = ("model", "data", "device", "variant")
"""The names of the parts of a context."""
KINDS = ("population", "per-chip")
"""Results of chips as they were programmed, and of chips that were calibrated one by one."""
FAILED = ("at_chance", "diverged", "failed")
"""What the status of a run says if something went wrong in training."""


@dataclass(frozen=True)
class Context:
    """What two groups must share before their methods may be compared.

    `per_chip`: every chip was measured or written again after it was programmed ("per-chip"); else all chips
    hold the same weights and nothing was measured on any of them ("population").
    """

    model: str
    data: str
    device: str
    variant: str
    per_chip: bool = False

    @property
    def words(self) -> tuple[str, str, str, str]:
        """The parts as a table shows them, in the order of `CONTEXT`."""
        return (self.model, self.data, self.device, self.variant or "plain")

    @property
    def kind(self) -> str:
        """Which of the two kinds of result, that no table mixes, this is."""
        return KINDS[self.per_chip]


@dataclass(frozen=True, eq=False)
class Group:
    """Every chip of one method at one evaluated σ, over all its training seeds.

    `method` is the label of the study, `kind` the kind of method that it stands for; `accuracy` maps seed →
    chip → accuracy in 0 … 1, or what else `score` says; `sigma` and `sigma_train` are nominal device σ
    (`None` for a device without one); `time` is in seconds since programming (`None` for a device that does
    not age); `of_max` and `of_rms` are σ_W / max|W| and σ_W / rms(W), means over seeds; `images` is how many
    test images a chip met.
    """

    method: str
    kind: str
    context: Context
    sigma_train: float | None
    sigma: float | None
    of_max: float
    of_rms: float
    accuracy: Mapping[int, Mapping[int, float]]
    nll: float
    ece: float
    confidence: float
    images: int
    whole_test: bool
    runs: tuple[str, ...] = ()
    time: float | None = None
    score: Score = ACCURACY

    @cached_property
    def by_seed(self) -> dict[int, tuple[float, ...]]:
        """The accuracies of each training seed, in the order of the chips."""
        return {seed: tuple(chips.values()) for seed, chips in self.accuracy.items()}

    @property
    def chips(self) -> int:
        """How many chips stand behind the group, over all seeds."""
        return sum(len(chips) for chips in self.accuracy.values())

    @property
    def seeds(self) -> int:
        """How many training seeds stand behind the group."""
        return len(self.accuracy)


@dataclass(frozen=True)
class Pair:
    """Two groups on the seeds and chips that both of them met, in the same order."""

    first: dict[int, tuple[float, ...]]
    second: dict[int, tuple[float, ...]]


def paired(first: Group, second: Group) -> Pair:
    """The accuracies of two groups on their common seeds and chips."""
    one: dict[int, tuple[float, ...]] = {}
    two: dict[int, tuple[float, ...]] = {}
    for seed in first.accuracy.keys() & second.accuracy.keys():
        a, b = first.accuracy[seed], second.accuracy[seed]
        common = sorted(a.keys() & b.keys())
        if common:
            one[seed] = tuple(a[chip] for chip in common)
            two[seed] = tuple(b[chip] for chip in common)
    return Pair(first=dict(sorted(one.items())), second=dict(sorted(two.items())))


@dataclass(frozen=True)
class Run:
    """One training: its labels, how it ended and, for a run folder, its history epoch by epoch.

    trained: False for a network that was evaluated as it is, and of whose training nothing is known.
    trained_time: how many seconds after programming the device was in training, where it ages.
    """

    id: str
    labels: Mapping[str, str]
    status: str
    words: str
    seconds: float | None = None
    best_epoch: int | None = None
    validation_accuracy: float | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    training_id: str = ""
    treatment: tuple[Mapping[str, Any], ...] = ()
    answers: tuple[Answered, ...] = ()
    classes: int | None = None
    score: Score = ACCURACY
    digital: float | None = None
    trained: bool = True
    trained_time: float | None = None

    @property
    def name(self) -> str:
        """The labels in one line, bare numbers with their axis; the id where there are none."""
        words = (
            label if axis in ("method", *CONTEXT) else f"{axis} {label}"
            for axis, label in self.labels.items()
        )
        return ", ".join(word for word in words if word) or self.id


def kin(run: Run) -> tuple[tuple[str, str], ...]:
    """What a run shares with the same training from another seed."""
    return tuple(sorted((axis, label) for axis, label in run.labels.items() if axis != "seed"))


def _none_last(sigma: float | None) -> float:
    return math.inf if sigma is None else sigma


@dataclass(frozen=True)
class Panel:
    """The groups that belong into one picture: one context, one training σ (vanilla joins every one).

    `sigma_train` is `None` where nothing was trained with noise.
    """

    context: Context
    sigma_train: float | None
    groups: tuple[Group, ...]

    @cached_property
    def sigma(self) -> float | None:
        """The σ at which the panel's methods are compared: the training σ if evaluated, else the worst."""
        evaluated = {group.sigma for group in self.over_sigma}
        if self.sigma_train in evaluated:
            return self.sigma_train
        return max((sigma for sigma in evaluated if sigma is not None), default=None)

    @cached_property
    def times(self) -> tuple[float, ...]:
        """Every time at which the chips were read, ascending."""
        return tuple(sorted({group.time for group in self.groups if group.time is not None}))

    @property
    def time(self) -> float | None:
        """The time at which the panel's methods are compared: the last one."""
        return self.times[-1] if self.times else None

    @cached_property
    def over_sigma(self) -> tuple[Group, ...]:
        """The panel's groups at that time, at every σ."""
        return tuple(group for group in self.groups if group.time == self.time)

    @cached_property
    def at_sigma(self) -> tuple[Group, ...]:
        """The panel's groups at that σ and that time, one per method."""
        return tuple(group for group in self.over_sigma if group.sigma == self.sigma)

    def clean(self, group: Group) -> Group | None:
        """The same method without device noise, if it was evaluated so."""
        key = (group.method, group.sigma_train, 0.0)
        return next((g for g in self.over_sigma if (g.method, g.sigma_train, g.sigma) == key), None)


@dataclass(frozen=True)
class WeakLayers:
    """What `everychip sensitivity` answered for one run; `run` is what to call it, empty where alone."""

    run: str
    record: SensitivityRecord


@dataclass(frozen=True)
class Results:
    """A run or a study, as its folder tells it.

    `axes` maps an axis of the grid to its labels in order; `recipe` is the resolved TOML as it stands in
    the folder; `left_out` names combinations that the study skipped on purpose; `coverage` tells what the
    crossbar holds of each network, where the runs recorded it; `weak_layers` is what
    `everychip sensitivity` found in its runs; `contrasts` are what its recipe asks beforehand; `machines`
    are the processors, where there are several, that computed it; `target` is the accuracy whose yield the
    recipe asks for; `again` is what writes the report for another target; `command` is what was typed, and
    `repeat` what computes a run anew.
    """

    path: Path
    is_study: bool
    name: str
    title: str
    command: str
    recipe: str
    axes: Mapping[str, tuple[str, ...]]
    environment: Mapping[str, Any]
    seconds: float | None
    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    left_out: tuple[str, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    weak_layers: tuple[WeakLayers, ...] = ()
    contrasts: tuple[Contrasts, ...] = ()
    machines: tuple[str, ...] = ()
    target: float | None = None
    again: str = "everychip report FOLDER --target VALUE"
    repeat: str = ""

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods in the order of the study, else baselines, controls, methods."""
        return tuple(dict.fromkeys(group.method for group in self.groups))

    @cached_property
    def method_kinds(self) -> dict[str, str]:
        """The kind of every method, in the order of `methods`."""
        return {group.method: group.kind for group in self.groups}

    @cached_property
    def sigmas(self) -> tuple[float, ...]:
        """Every evaluated nominal σ, ascending."""
        return tuple(sorted({group.sigma for group in self.groups if group.sigma is not None}))

    @cached_property
    def times(self) -> tuple[float, ...]:
        """Every time at which chips were read, ascending."""
        return tuple(sorted({time for panel in self.panels for time in panel.times}))

    @cached_property
    def panels(self) -> tuple[Panel, ...]:
        """One panel for each context and training σ, in the order of the study."""
        panels = []
        for context in dict.fromkeys(group.context for group in self.groups):
            members = [group for group in self.groups if group.context == context]
            trained = {group.sigma_train for group in members} - {0.0} or {None}
            for sigma_train in sorted(trained, key=_none_last):
                chosen = tuple(g for g in members if g.sigma_train in (0.0, sigma_train))
                panels.append(Panel(context=context, sigma_train=sigma_train, groups=chosen))
        return tuple(panels)

    @cached_property
    def by_context(self) -> dict[Context, tuple[Panel, ...]]:
        """The panels of each context, in order."""
        contexts = dict.fromkeys(panel.context for panel in self.panels)
        return {c: tuple(panel for panel in self.panels if panel.context == c) for c in contexts}

    @cached_property
    def kinds(self) -> dict[str, Results]:
        """The results of each kind by its name, population first; under no name where there is no other."""
        apart = {kind: tuple(group for group in self.groups if group.context.kind == kind) for kind in KINDS}
        found = {kind: replace(self, groups=groups) for kind, groups in apart.items() if groups}
        return {"": self} if list(found) == ["population"] else found

    @property
    def trained(self) -> bool:
        """Whether any of the networks was trained here, and not evaluated as somebody has it."""
        return not self.runs or any(run.trained for run in self.runs)

    @property
    def score(self) -> Score:
        """What was measured of every chip."""
        return self.groups[0].score if self.groups else ACCURACY

    def heading(self, context: Context) -> str:
        """What tells a context from the others of its study; nothing if it is the only one."""
        varying = [i for i in range(len(context.words)) if len({c.words[i] for c in self.by_context}) > 1]
        kind = [context.kind] if any(c.per_chip for c in self.by_context) else []
        return ", ".join([*(context.words[i] for i in varying), *kind])

    def runs_of(self, group: Group) -> tuple[Run, ...]:
        """The runs behind a group, those without a single chip (diverged, unfinished) included."""
        related = {kin(run) for run in self.runs if run.id in group.runs}
        return tuple(run for run in self.runs if run.id in group.runs or (run.labels and kin(run) in related))

    def failed(self, group: Group) -> tuple[Run, ...]:
        """The runs behind a group whose training stayed at chance, diverged or failed."""
        return tuple(run for run in self.runs_of(group) if run.status in FAILED)

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The runs that are still to come."""
        return tuple(run for run in self.runs if run.status == "unfinished")

    def one_seed(self) -> bool:
        """Whether the numbers speak of chips only, because every method was trained once."""
        return all(group.seeds == 1 for group in self.groups)
