"""Executors: where the runs of a study are computed, from this process to a cluster."""

from everychip.study.executors.base import Executor, Pool
from everychip.study.executors.processes import Processes
from everychip.study.executors.ray import Ray
from everychip.study.executors.slurm import Slurm

__all__ = ["Executor", "Pool", "Processes", "Ray", "Slurm"]
