"""What a study asks beforehand: contrasts of labels of an axis, with the margin that would not matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from everychip.config.component import Config
from everychip.errors import ConfigError, known_names

Pair = tuple[str, str]


class Contrasts(Config):
    """A family of contrasts, fixed before the first run: the first label of each pair less the second.

    axis: whose labels they are. pairs: of labels. margin: the difference that would not matter, in the
    score's own unit (accuracy: 0.01 is a point). The report judges them at the training σ, corrected for the
    number of pairs (`everychip.statistics.contrasts`).

    >>> Contrasts(pairs=[["irs", "temperature"]]).margin
    0.01
    """

    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)]
    axis: str = "method"
    margin: Annotated[float, Field(gt=0)] = 0.01

    def check(self, labels: Mapping[str, list[str]], *, where: str) -> None:
        """Refuse an axis or a label that the study does not have, and a pair of the same label.

        Args:
            labels: of the study, by axis.
            where: what an error names.
        """
        if self.axis not in labels:
            remedy = known_names(self.axis, labels)
            raise ConfigError(f"{where}.axis", found=f"unknown axis {self.axis!r}", remedy=remedy)
        for pair in self.pairs:
            for label in pair:
                if label not in labels[self.axis]:
                    remedy = known_names(label, labels[self.axis])
                    raise ConfigError(f"{where}.pairs", found=f"unknown label {label!r}", remedy=remedy)
            if pair[0] == pair[1]:
                raise ConfigError(f"{where}.pairs", found=f"{pair[0]!r} less itself", expected="two labels")
