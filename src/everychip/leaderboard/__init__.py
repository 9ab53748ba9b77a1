"""The leaderboard: versioned tasks, one measurement for table and user, checked entries, a static page."""

from everychip.leaderboard.benchmark import Benchmark, benchmark
from everychip.leaderboard.entry import Entry, read_entry
from everychip.leaderboard.task import LeaderboardTask, shipped

__all__ = ["Benchmark", "Entry", "LeaderboardTask", "benchmark", "read_entry", "shipped"]
