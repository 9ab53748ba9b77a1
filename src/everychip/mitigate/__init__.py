"""Mitigation: what is done after training, to each programmed chip before it is used."""

from everychip.mitigate.base import Address, BoundMitigation, Mitigation
from everychip.mitigate.bn_recalibration import BNRecalibration
from everychip.mitigate.dora import DoRA
from everychip.mitigate.drift_compensation import DriftCompensation
from everychip.mitigate.selective_write_verify import Selection, SelectiveWriteVerify
from everychip.mitigate.sequence import InOrder, Sequence

__all__ = [
    "Address",
    "BNRecalibration",
    "BoundMitigation",
    "DoRA",
    "DriftCompensation",
    "InOrder",
    "Mitigation",
    "Selection",
    "SelectiveWriteVerify",
    "Sequence",
]
