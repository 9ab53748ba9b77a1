"""Several mitigations of the same chip, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from everychip.hardware.hardware import Hardware
from everychip.mitigate.base import Address, BoundMitigation, Metadata, Mitigation


class Sequence(Mitigation):
    """Mitigations applied in order, each to the chip that the one before it left.

    mitigations: the first one first; what writes cells comes before what measures them.

    Source: this project's own.

    >>> both = Sequence(mitigations=("drift_compensation", "bn_recalibration"))
    >>> [one.kind for one in both.mitigations]
    ['drift_compensation', 'bn_recalibration']
    """

    mitigations: Annotated[tuple[Mitigation, ...], Field(min_length=1)]

    @property
    def per_chip(self) -> bool:  # type: ignore[override]
        """Whether any of them measures or writes every chip."""
        return any(one.per_chip for one in self.mitigations)

    def validate_for(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> None:
        for one in self.mitigations:
            one.validate_for(model, hardware, calibration, seed=seed)

    def bind(
        self, model: nn.Module, hardware: Hardware, calibration: Any = None, *, seed: int = 0
    ) -> BoundMitigation:
        return InOrder([one.bind(model, hardware, calibration, seed=seed) for one in self.mitigations])


class InOrder(BoundMitigation):
    """Treatments of the same chip, one after the other."""

    def __init__(self, treatments: list[BoundMitigation]) -> None:
        self.treatments = treatments

    def __call__(self, chip: Mapping[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        for treat in self.treatments:
            chip = treat(chip, seed=seed, path=path)
        return dict(chip)

    def metadata(self) -> tuple[Metadata, ...]:
        return tuple(fact for treat in self.treatments for fact in treat.metadata())
