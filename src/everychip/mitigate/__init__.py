"""Mitigation: what is done after training, to each programmed chip before it is used."""

from everychip.mitigate.base import Address, Mitigation, Treatment
from everychip.mitigate.bn_recalibration import BNRecalibration

__all__ = ["Address", "BNRecalibration", "Mitigation", "Treatment"]
