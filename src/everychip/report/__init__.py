"""Reports: a run or a study folder, as tables, charts and one self-contained page."""

from everychip.report.chart_files import write_charts
from everychip.report.html import write_report
from everychip.report.markdown import to_markdown
from everychip.report.reading import load
from everychip.report.results import Results
from everychip.report.terminal import show

__all__ = ["Results", "load", "show", "to_markdown", "write_charts", "write_report"]
