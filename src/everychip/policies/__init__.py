"""Policies: how a network whose exits stay answers, as values of a chip."""

from everychip.policies.base import Policy
from everychip.policies.early import Early
from everychip.policies.fixed import Combined, Last, Only
from everychip.policies.per_chip import PerChip

__all__ = ["Combined", "Early", "Last", "Only", "PerChip", "Policy"]
