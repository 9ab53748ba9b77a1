"""Mitigation: what is done after training, to each programmed chip before it is used."""

from everychip.mitigate.base import Address, Mitigation, Treatment
from everychip.mitigate.bn_recalibration import BNRecalibration
from everychip.mitigate.drift_compensation import DriftCompensation
from everychip.mitigate.selective_write_verify import Selection, SelectiveWriteVerify
from everychip.mitigate.sequence import InOrder, Sequence
from everychip.mitigate.worst_case import WorstCase, worst_case_search

__all__ = [
    "Address",
    "BNRecalibration",
    "DriftCompensation",
    "InOrder",
    "Mitigation",
    "Selection",
    "SelectiveWriteVerify",
    "Sequence",
    "Treatment",
    "WorstCase",
    "worst_case_search",
]
