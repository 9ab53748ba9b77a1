"""Which layer's noise costs how much of the score: the same chips, with the noise of one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal, get_args

import torch
from jaxtyping import Float
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from everychip.charts.notebook import Shown
from everychip.charts.paragraph import paragraph
from everychip.charts.text_table import RULE, TextColumn, text_table
from everychip.config.arguments import index, one_of, optional, takes, whole
from everychip.config.columns import TENSOR, VALUES
from everychip.data.inputs import moved, taken
from everychip.data.stream import Stream
from everychip.errors import ConfigError, ModelError, SampleSizeError
from everychip.evaluation.bench import Asked, Bench
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.calibration import ranged
from everychip.hardware.hardware import Hardware
from everychip.hardware.outliers import warn_of_layer_scale
from everychip.hardware.placement import Placed
from everychip.network.macs import trace
from everychip.network.modes import evaluating
from everychip.network.running import Precision
from everychip.network.soundness import device_of
from everychip.progress import Event, Listener, listening
from everychip.rng import seeded_global_generator
from everychip.scores import ACCURACY, Score
from everychip.statistics.intervals import Interval, mean_interval
from everychip.tasks import OwnScore, Task, a_score

Mode = Literal["only", "all_but"]
Advice = Literal["digital", "write-verify", ""]

WORTH = 0.005
"""The accuracy that a layer must cost, beyond its interval, before it deserves anything."""
LIGHT = 0.02
"""The share of the multiplications up to which a layer is light enough to be executed digitally."""
_LOST = 15
"""The width of the column of costs."""


@dataclass(frozen=True, eq=False, config=VALUES)
class LayerCost:
    """What the noise of one layer costs.

    accuracy: of every chip. lost: the accuracy that the layer's noise costs, paired over the chips; the
    intervals of all layers hold together at 95 % (Bonferroni). weights and macs: its shares of those on the
    crossbar, 0 … 1; macs is None where they could not be counted.
    """

    layer: str
    weights: float
    macs: float | None
    of_max: float
    of_rms: float
    accuracy: Annotated[Float[Tensor, " chips"], TENSOR]
    lost: Interval

    @property
    def worth(self) -> float:
        """What the layer must cost before it deserves anything: half a point, of another score nothing."""
        return WORTH if self.lost.score.unit == "%" else 0.0

    @property
    def advice(self) -> Advice:
        """What the layer deserves, by the rule of `Sensitivity`."""
        if self.lost.low is None or self.lost.low <= self.worth:
            return ""
        return "digital" if self.macs is not None and self.macs <= LIGHT else "write-verify"


@dataclass(frozen=True, eq=False, repr=False, config=VALUES)
class Sensitivity(Shown):
    """The crossbar layers of a model, the costliest first.

    A layer deserves something where its interval lies wholly above half a point of accuracy: digital
    execution if it holds at most 2 % of the crossbar's multiplications, write-verify otherwise.

    mode: "only", noise on that layer alone, its cost counted from the noiseless chip; "all_but", noise on all
    the others, its cost counted as what comes back. clean: accuracy without noise. noisy: with all of it.
    """

    mode: Mode
    layers: tuple[LayerCost, ...]
    clean: float
    noisy: Interval
    chips: int
    seed: int
    images: int
    whole_test: bool

    def table(self) -> dict[str, Any]:
        """Everything but the single chips as plain values, for JSON."""
        rows = [
            {
                **{name: getattr(row, name) for name in ("layer", "weights", "macs", "of_max", "of_rms")},
                "accuracy": float(row.accuracy.mean()),
                "lost": row.lost.estimate,
                "low": row.lost.low,
                "high": row.lost.high,
                "advice": row.advice,
            }
            for row in self.layers
        ]
        whole = {"mode": self.mode, "clean": self.clean, "noisy": _plain(self.noisy), "layers": rows}
        if self.noisy.score != ACCURACY:
            whole["score"] = self.noisy.score.facts()
        return {**whole, "chips": self.chips, "seed": self.seed, "images": self.images}

    def _brief(self) -> str:
        chosen = [row.layer for row in self.layers if row.advice]
        return f"{len(self.layers)} layers over {self.chips} chips, deserving: {', '.join(chosen) or 'none'}"

    def __str__(self) -> str:
        """The layers in a table 80 columns wide, then what they deserve and by which rule."""
        lost = f"{self.noisy.score.step} lost"
        numbers = [
            TextColumn("weights", 7),
            TextColumn("MACs", 6),
            TextColumn("σ_W/rms", 7),
            TextColumn(lost, _LOST),
        ]
        columns = [TextColumn("layer", 26), *(column._replace(right=True) for column in numbers)]
        head, *rows = text_table([*columns, TextColumn("deserves", 13)], map(_texts, self.layers))
        return "\n".join([head, RULE, *rows, RULE, *paragraph(self.words, 79)])

    @property
    def words(self) -> str:
        """The rule, what was measured, and what it found."""
        step = self.noisy.score.step
        lost = step[:1].upper() + step[1:]
        told = {
            "only": f"{lost} lost: noise on that layer alone, against none.",
            "all_but": f"{lost} lost: what comes back where that layer alone has no noise.",
        }
        chosen = [f"{row.layer} ({row.advice})" for row in self.layers if row.advice]
        found = f"These do: {', '.join(chosen)}." if chosen else "None does."
        score = self.noisy.score
        digits = 1 if score.unit == "%" else self.noisy.digits
        clean, noisy = (score.text(value, digits=digits) for value in (self.clean, self.noisy.estimate))
        name = score.name[:1].upper() + score.name[1:]
        cost = f"more than {100 * WORTH:g} points" if score.unit == "%" else "anything"
        # A function that runs the chip goes through its data itself: nobody counts them.
        inputs = "images" if score == ACCURACY else "inputs"
        seen = f"of {self.images} {inputs}" if self.images else "on the data of the score's own function"
        return (
            f"{told[self.mode]} Paired over {self.chips} chips {seen}, 95 % over all layers "
            f"together. {name} {clean} without noise, {noisy} "
            f"with all of it. A layer that surely costs {cost} deserves "
            f"write-verify, or digital execution if it holds at most {100 * LIGHT:g} % of the MACs. {found}"
        )


@takes(
    model=MODEL,
    hardware=HARDWARE,
    chips=whole(),
    score=optional(a_score),
    seed=index,
    mode=one_of(*get_args(Mode)),
    batch_size=whole(least=1),
    images=optional(whole(least=1)),
    precision=one_of(*get_args(Precision)),
)
def sensitivity(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    chips: int = 20,
    seed: int = 0,
    task: Task | Mapping[str, Any] | str = "classification",
    score: Callable[..., Any] | OwnScore | None = None,
    mode: Mode = "only",
    batch_size: int = 500,
    precision: Precision = "float32",
    images: int | None = None,
    calibration: Any = None,
    progress: Listener | None = None,
) -> Sensitivity:
    """Measure every chip with the noise of one crossbar layer at a time, or of all layers but one.

    It costs (layers + 1)·chips evaluations. On an array every layer is read through it, noisy or not.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        hardware: device, mapping and array that it is programmed into.
        data: test data, in any form that `evaluate` takes.
        chips: those that `evaluate` programs with the same seed: a layer has the same noise in all of its
            measurements, so that differences are paired.
        seed: of all draws, a whole number.
        task: the network's task, as in `evaluate`.
        score: a function to judge chips by, as in `evaluate`.
        mode: "only", noise on one layer at a time; "all_but", on all others.
        batch_size: inputs that are run at once.
        precision: of the products: "float32" or "bfloat16".
        images: each chip's own random part of the test set; None, all of it.
        calibration: the training data that an array's converters take their ranges from.
        progress: True, a bar; False, none; absent, one on a terminal; or a function of `progress.Event`.

    Returns:
        The layers, the costliest first.

    >>> import torch, everychip as ec
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> x = torch.randn(64, 4, generator=ec.rng_for(0)); y = model(x).argmax(1)
    >>> found = sensitivity(model, hw, (x, y), chips=5)
    >>> sorted(row.layer for row in found.layers), found.clean
    (['0.weight', '2.weight'], 1.0)
    """
    if chips < 2:
        raise SampleSizeError("sensitivity.chips", found=f"{chips}", expected="at least 2 for an interval")
    asked = Asked.of(task, score)
    found = asked.bench(model, data, images=images, precision=precision, batch_size=batch_size)
    placed = Placed.of(model, hardware)
    warn_of_layer_scale(placed, stacklevel=3)  # through `takes`
    placed = ranged(placed, found.runner, calibration, seed=seed)
    if isinstance(found.data, Stream):
        raise ConfigError(
            "sensitivity.data",
            found="a stream, which would be read anew for every layer of every chip",
            expected="data in memory",
            remedy="some hundred of its inputs, as (x, y)",
        )
    bench = _Bench(placed, found, seed)
    total = chips * (len(placed.weights) + 2)
    measured: dict[str, list[float]] = {}
    with torch.no_grad(), evaluating(model), listening(progress) as tell:
        for chip in range(chips):
            for name, accuracy in bench.accuracies(chip, mode):
                measured.setdefault(name, []).append(accuracy)
                done = sum(map(len, measured.values()))
                tell(Event("layers", done, total, {asked.score.name: accuracy}))
    return bench.result(measured, mode)


class _Bench:
    """A model and its test images, ready for chips that are noisy only in part."""

    def __init__(self, placed: Placed, measures: Bench, seed: int) -> None:
        self.placed, self.measures, self.seed = placed, measures, seed
        # What the cells would hold without noise is not always the weight: it may be rounded.
        self.ideal = self._programmed(0, strength=0.0)
        self._clean: float | None = None

    def accuracies(self, chip: int, mode: Mode) -> Iterator[tuple[str, float]]:
        """The scores of one chip: without noise (""), with all of it ("*"), and of every layer."""
        seen = self.measures.part(seed=self.seed, chip=chip)
        noisy = self._programmed(chip)
        if self._clean is None or not self.measures.whole_test or self._reads_differ:
            self._clean = self._accuracy(self.ideal, seen)
        yield "", self._clean
        yield "*", self._accuracy(noisy, seen)
        around, inside = (self.ideal, noisy) if mode == "only" else (noisy, self.ideal)
        for name in self.placed.weights:
            yield name, self._accuracy({**around, name: inside[name]}, seen)

    @property
    def score(self) -> Score:
        """What a layer costs some of."""
        return self.measures.asked.score

    @property
    def _reads_differ(self) -> bool:
        """Whether the same cells say something else when they are read again."""
        return any(array.is_noisy for array in self.placed.hardware.arrays)

    def _programmed(self, chip: int, strength: float = 1.0) -> dict[str, Tensor]:
        return self.placed.program(seed=self.seed, path=("evaluate", chip), strength=strength)

    def _accuracy(self, chip: dict[str, Tensor], seen: Any) -> float:
        row = self.measures.measure(lambda: chip, seen, seed=self.seed, path=("sensitivity",))
        return row[self.score.name]

    def result(self, measured: dict[str, list[float]], mode: Mode) -> Sensitivity:
        """The layers by what they cost."""
        found = {name: torch.tensor(values, dtype=torch.float64) for name, values in measured.items()}
        clean, noisy = found[""], found["*"]
        level = 1 - 0.05 / len(self.placed.weights)
        macs = self._macs()
        total = sum(weight.numel() for weight in self.placed.weights.values())
        rows = [
            LayerCost(
                layer=noise.layer,
                weights=noise.weights / total,
                macs=None if macs is None else macs.get(noise.layer, 0) / max(1, sum(macs.values())),
                of_max=noise.of_max,
                of_rms=noise.of_rms,
                accuracy=(accuracy := found[noise.layer]),
                lost=self._lost(clean - accuracy if mode == "only" else accuracy - noisy, level=level),
            )
            for noise in self.placed.effective_sigma().layers
        ]
        rows.sort(key=lambda row: -row.lost.estimate)
        return Sensitivity(
            mode,
            tuple(rows),
            float(clean.mean()),
            replace(mean_interval(noisy, within=self.score.within), score=self.score),
            chips=len(clean),
            seed=self.seed,
            images=self.measures.images,
            whole_test=self.measures.whole_test,
        )

    def _lost(self, difference: Tensor, *, level: float) -> Interval:
        """What a layer costs, worse counted as more whichever way the score goes."""
        score = self.score
        found = mean_interval(score.sign * difference, level=level, within=score.difference)
        return replace(found, score=score)

    def _macs(self) -> dict[str, int] | None:
        """The MACs of the crossbar's layers, or None where the model does not bear being counted."""
        try:
            with seeded_global_generator(0, "sensitivity"):
                model, test = self.measures.runner.model, self.measures.data
                counted = trace(model, moved(taken(test.x, slice(1)), device_of(model)))
        except (ModelError, AttributeError):  # or the data are a stream or a user's own
            return None
        return {name: counted.by_parameter.get(name, 0) for name in self.placed.weights}


def _texts(row: LayerCost) -> tuple[str, ...]:
    lost = _of_width(row.lost, 2 if row.lost.score.unit == "%" else row.lost.digits)
    macs = "–" if row.macs is None else f"{_percent(row.macs)} %"
    name = row.layer if len(row.layer) <= 26 else f"{row.layer[:12]}…{row.layer[-13:]}"
    return name, f"{_percent(row.weights)} %", macs, f"{row.of_rms:.2f}", lost, row.advice


def _of_width(lost: Interval, digits: int) -> str:
    """The cost and half its interval, with fewer decimals where they would not fit: a cut number is none."""
    values = (lost.estimate, lost.half or 0.0)
    text = " ± ".join(lost.score.number(value, digits=digits) for value in values).replace("-", "−")
    return text if len(text) <= _LOST or not digits else _of_width(lost, digits - 1)


def _plain(interval: Interval) -> dict[str, Any]:
    facts = asdict(interval)
    del facts["score"]
    return facts if interval.score == ACCURACY else {**facts, "score": interval.score.facts()}


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
