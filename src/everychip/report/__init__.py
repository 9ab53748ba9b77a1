"""Reports: a run or a study folder, told as tables, charts and one self-contained page."""

from everychip.report.reading import load
from everychip.report.results import Results

__all__ = ["Results", "load"]
