"""Mitigation: what is done after training, to each programmed chip before it is used."""

from everychip.mitigate.base import Address, Mitigation, Treatment
from everychip.mitigate.bn_recalibration import BNRecalibration
from everychip.mitigate.drift_compensation import DriftCompensation

__all__ = ["Address", "BNRecalibration", "DriftCompensation", "Mitigation", "Treatment"]
