"""Coverage: which parameters and which multiplications are on the crossbar, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, SerializerFunctionWrapHandler, computed_field, model_serializer, model_validator
from torch import nn

from everychip.charts.notebook import Shown
from everychip.charts.paragraph import paragraph
from everychip.charts.text_table import RULE, TextColumn, fitted, text_table
from everychip.config.arguments import takes
from everychip.config.result import Result
from everychip.data.inputs import Inputs, rows_of
from everychip.data.sample import sample_of
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.hardware import Hardware, Placement, Why
from everychip.hardware.outliers import Outlier, advice, outliers
from everychip.hardware.placement import Placed
from everychip.network.macs import trace
from everychip.network.modes import evaluating
from everychip.network.running import Runner
from everychip.rng import seeded_global_generator

_OUTLIERS = 3
_NAME, _SHAPE = 29, 13
_COLUMNS = (
    TextColumn("matrix", _NAME),
    TextColumn("layer", 10),
    TextColumn("shape", _SHAPE),
    TextColumn("weights", 7, right=True),
    TextColumn("MACs", 7, right=True),
    TextColumn("crossbar", 8),
)
_UNUSED = "a matrix, but the sample's forward never multiplies by it"


class Row(Result):
    """One parameter: where it is held and why; `macs` per input, `None` where no sample was given.

    why: what code goes by, beside the text `reason`. unused: it is on the crossbar, and the sample's forward
    never multiplied by it. rule: the hardware of its own that `Hardware.layers` gives it, in words, or
    nothing. The shares are of all parameters and MACs, 0 … 1.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    parameters: int
    macs: int | None
    crossbar: bool
    why: Why
    unused: bool = False
    reason: str
    remedy: str
    rule: str = ""
    share_of_parameters: float
    share_of_macs: float | None

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, row: Any) -> Any:
        """Rows that were written before `why` have its text alone."""
        if not isinstance(row, Mapping) or "why" in row:
            return row
        unused = row.get("reason") == _UNUSED
        return {**row, "why": Why.MATRIX if unused else Why.of_text(str(row.get("reason"))), "unused": unused}

    @model_serializer(mode="wrap")
    def _without_a_rule_no_key(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Rows of hardware without `layers` are written as they were."""
        found: dict[str, Any] = handler(self)
        return found if self.rule else {key: value for key, value in found.items() if key != "rule"}


class Coverage(Shown, Result):
    """What the crossbar holds of one model.

    between_activations: MACs per input that multiply two activations. of_buffers: those that multiply a
    buffer, by its name. outliers: layers whose largest weights are extreme. advice: what helps against them.
    """

    model: str
    between_activations: int | None = Field(alias="macs_between_activations")
    of_buffers: dict[str, int] = Field(default={}, alias="macs_of_buffers")
    rows: tuple[Row, ...] = Field(min_length=1)
    outliers: tuple[Outlier, ...] = ()
    advice: str = ""

    @computed_field(alias="parameters_on_crossbar")  # type: ignore[prop-decorator]
    @property
    def parameters(self) -> float:
        """The share of the parameters that is on the crossbar, 0 … 1."""
        return sum(row.parameters for row in self.rows if row.crossbar) / sum(
            row.parameters for row in self.rows
        )

    @computed_field(alias="macs_on_crossbar")  # type: ignore[prop-decorator]
    @property
    def macs(self) -> float | None:
        """The share of the multiply-accumulates that is on the crossbar, 0 … 1; `None` without a sample."""
        total = self.total_macs
        return sum(row.macs or 0 for row in self.rows if row.crossbar) / total if total else None

    @computed_field(alias="macs")  # type: ignore[prop-decorator]
    @property
    def total_macs(self) -> int | None:
        """All multiply-accumulates of one input, those of two activations included."""
        if self.between_activations is None:
            return None
        held = sum(row.macs or 0 for row in self.rows) + sum(self.of_buffers.values())
        return self.between_activations + held

    def table(self) -> list[dict[str, Any]]:
        """The rows as plain values, with each one's share of all parameters and MACs, 0 … 1."""
        return [row.facts() for row in self.rows]

    @property
    def matrices(self) -> tuple[Row, ...]:
        """The rows of what is, or could be, multiplied by: all but biases, norms and other vectors."""
        return tuple(row for row in self.rows if row.macs or row.crossbar or len(row.shape) > 1)

    def summary(self) -> str:
        """The totals in a sentence or two."""
        return " ".join(_totals(self))

    def _brief(self) -> str:
        return self.summary().removesuffix(".")

    def __str__(self) -> str:
        """The matrices in a table 80 columns wide, then why the rest is digital, then the totals."""
        reasons = {row.name: _note(row) for row in self.rows if _needs_a_note(row)}
        notes = list(dict.fromkeys(reasons.values()))
        weights, total = sum(row.parameters for row in self.rows), self.total_macs
        rows = []
        for row in self.matrices:
            held = "yes" if row.crossbar else "no"
            number = f" ({notes.index(reasons[row.name]) + 1})" if row.name in reasons else ""
            shape, share = "×".join(map(str, row.shape)), _share(row.parameters, weights)
            macs = _share(row.macs, total) if row.macs and total else "–"
            rows.append(
                (fitted(row.name, _NAME), row.layer, fitted(shape, _SHAPE), share, macs, held + number)
            )
        head, *table = text_table(_COLUMNS, rows)
        lines = [head, RULE, *table, RULE]
        for n, note in enumerate(notes, start=1):
            lines += _explained(n, [row for row in self.rows if reasons.get(row.name) == note])
        lines += _wrapped(self.summary())
        shown = [one.words for one in self.outliers[:_OUTLIERS]]
        more = len(self.outliers) - len(shown)
        shown += [f"{more} more layers have such weights."] if more else []
        return "\n".join(
            [*lines, *(line for text in (*shown, self.advice) if text for line in _wrapped(text))]
        )


@takes(
    model=MODEL,
    hardware=HARDWARE,
)
def check(model: nn.Module, hardware: Hardware, sample: Any = None) -> Coverage:
    """Say which parameters and which share of the MACs are on the crossbar, and why the others are not.

    What an array cannot carry out is refused.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        hardware: device, mapping and array that it is programmed into.
        sample: a batch as the model takes it, several inputs as a tuple or by name in a dict; or what holds
            such batches, a `Stream`, a loader, a data set, of which the first inputs are taken. With it the
            multiply-accumulates (MACs, per input) are counted and, where there is an array, its reads are
            tried.

    Returns:
        A row for every parameter, and the totals.

    >>> import torch, everychip as ec
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), digital=("2",))
    >>> coverage = check(model, hw, torch.ones(1, 8))
    >>> coverage.parameters, coverage.macs
    (0.59..., 0.8)
    >>> [(row.name, row.reason) for row in coverage.rows if row.macs and not row.crossbar]
    [('2.weight', 'digital by request (2)')]
    """
    placed = Placed.of(model, hardware)  # refuses a model without matrices
    by_parameter, between, of_buffers = None, None, {}
    if sample is not None:
        few = Runner(model).formatted(sample_of(sample, where="check.sample"))
        counted, inputs = trace(model, few), rows_of(few)
        by_parameter = {name: macs // inputs for name, macs in counted.by_parameter.items()}
        between = counted.between_activations // inputs
        of_buffers = {name: macs // inputs for name, macs in counted.by_buffer.items()}
        if hardware.arrays:
            _read_through(model, placed, few)
    every = sum(row.parameter.numel() for row in placed.rows)
    total = None
    if by_parameter is not None and between is not None:
        known = (by_parameter.get(row.name, 0) for row in placed.rows)
        total = sum(known) + between + sum(of_buffers.values())
    rows = [
        _row(model, row, None if by_parameter is None else by_parameter.get(row.name, 0), of=(every, total))
        for row in placed.rows
    ]
    found = outliers(placed)
    return Coverage(
        model=type(model).__name__,
        rows=tuple(_with_rule(row, hardware) for row in rows),
        outliers=found,
        advice=advice(found, hardware),
        macs_between_activations=between,
        macs_of_buffers=of_buffers,
    )


def _read_through(model: nn.Module, placed: Placed, sample: Inputs) -> None:
    """Run one chip, which refuses whatever would compute past the converters."""
    chip = placed.program(seed=0, path=("evaluate", 0))
    with torch.no_grad(), evaluating(model), seeded_global_generator(0, "check"):
        Runner(model).logits(chip, sample)


def _row(model: nn.Module, placed: Placement, macs: int | None, *, of: tuple[int, int | None]) -> Row:
    """One parameter; of: all parameters, and all MACs where they were counted."""
    owners = [model.get_submodule(owner) for owner in placed.owners]
    embedding = isinstance(owners[0], nn.Embedding | nn.EmbeddingBag)
    reason, remedy = placed.reason, ""
    unused = placed.crossbar and macs == 0 and not embedding
    if unused:
        reason, remedy = _UNUSED, "see that the sample takes the path you mean"
    elif placed.why is Why.BY_REQUEST:
        remedy = "hardware.digital names it"
    elif embedding and not placed.crossbar:
        remedy = "hardware.embeddings = true programs it"
    parameters, (every, total) = placed.parameter.numel(), of
    return Row(
        name=placed.name,
        layer=" = ".join(dict.fromkeys(_layer_name(owner) for owner in owners)),
        shape=tuple(placed.parameter.shape),
        parameters=parameters,
        macs=macs,
        crossbar=placed.crossbar,
        why=placed.why,
        unused=unused,
        reason=reason,
        remedy=remedy,
        share_of_parameters=parameters / every,
        share_of_macs=None if macs is None or not total else macs / total,
    )


def _with_rule(row: Row, hardware: Hardware) -> Row:
    """The row with the words of the rule that gives it hardware of its own, where it is on the crossbar."""
    rule = next((layer for layer in hardware.layers if layer.names(row.name)), None)
    return row.model_copy(update={"rule": rule.label}) if rule is not None and row.crossbar else row


def _layer_name(module: nn.Module) -> str:
    """The name of its class, or of the public one behind PyTorch's private classes."""
    classes = (
        cls for cls in type(module).__mro__ if hasattr(nn, cls.__name__) or "torch." not in cls.__module__
    )
    return next(classes, nn.Module).__name__


def _needs_a_note(row: Row) -> bool:
    return not row.crossbar or row.unused or bool(row.rule)


def _note(row: Row) -> tuple[str, str]:
    """Why the row is not as most are, and what to do about it."""
    own = f"on the crossbar, with hardware of its own ({row.rule})"
    return (row.reason, row.remedy) if not row.crossbar or row.unused else (own, "")


def _explained(number: int, rows: list[Row]) -> list[str]:
    reason, remedy = _note(rows[0])
    text = f"({number}) {reason}: {len(rows)} parameter{'s' if len(rows) > 1 else ''}"
    if len(rows[0].shape) < 2:
        text += f", such as {rows[0].name}"
    return _wrapped(text + (f"; {remedy}" if remedy else ""))


def _totals(coverage: Coverage) -> list[str]:
    values = sum(row.parameters for row in coverage.rows)
    text = f"{coverage.model}: {percent(coverage.parameters)} of {short(values)} weights"
    total = coverage.total_macs
    if coverage.macs is not None and total:
        text += f" and {percent(coverage.macs)} of {short(total)} MACs per input"
    sentences = [text + " are on the crossbar."]
    if total and coverage.between_activations:
        share = percent(coverage.between_activations / total)
        sentences.append(
            f"{share} of the MACs multiply two activations, as attention scores do, and are digital."
        )
    if total and coverage.of_buffers:
        share = percent(sum(coverage.of_buffers.values()) / total)
        first, *others = coverage.of_buffers
        more = f" and {len(others)} more" if others else ""
        sentences.append(
            f"{share} of the MACs multiply a buffer ({first}{more}), and are digital: register it as a "
            "parameter, requires_grad=False, to have it programmed."
        )
    return sentences


def _share(part: int, whole: int) -> str:
    """The share in a column of seven characters."""
    return percent(part / whole).replace("under ", "<").replace("over ", ">")


def short(number: int) -> str:
    """The number with three digits and its power of a thousand.

    >>> short(37_158_912), short(640)
    ('37.2 M', '640')
    """
    value, power = float(number), 0
    while value >= 999.5 and power < 4:
        value, power = value / 1000, power + 1
    digits = 0 if power == 0 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{('', ' k', ' M', ' G', ' T')[power]}"


def percent(share: float) -> str:
    """The share with one decimal, never rounded to all or nothing.

    >>> percent(0.5), percent(0.9999), percent(1.0)
    ('50.0 %', 'over 99.9 %', '100.0 %')
    """
    if 0.9995 <= share < 1:
        return "over 99.9 %"
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return f"{share:.1%}".replace("%", " %")


def _wrapped(text: str) -> list[str]:
    return paragraph(text, 79, hanging="    ")
