"""Chips as code of before the rooms imports them; they are at home in `everychip.hardware.chip`."""

from everychip.hardware.chip import effective_sigma, program, run

__all__ = ["effective_sigma", "program", "run"]
