"""From a CSV of measured conductances to a device: its bias, its σ in parts, and how well they fit."""

from everychip.device_fit.chart import chart
from everychip.device_fit.fitting import Fit, TimeFit, fit
from everychip.device_fit.reading import Measurements, read_csv
from everychip.device_fit.writing import write

__all__ = ["Fit", "Measurements", "TimeFit", "chart", "fit", "read_csv", "write"]
