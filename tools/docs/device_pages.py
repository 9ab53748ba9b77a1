"""Draw the plots of docs/explanation/devices: sampled cells against the published fits.

    python tools/docs/device_pages.py

The fits below are written out from their sources once more, not taken from the package: what is drawn as a
line is the literature's, what is drawn as points is sampled from everychip's devices.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # the scripts stand beside this one, whoever runs it

from device_panels import DAY, YEAR, Ageing, Law, Panel, Series
from plot_files import mark_of, side_by_side, write_plot

from everychip import devices

PLOTS = Path(__file__).parents[2] / "docs" / "explanation" / "devices" / "plots"

# The published laws, in µS unless a σ is a fraction of G_max.


def polynomial(*coefficients: float, reference: float = 1.0) -> Law:
    """Σ c_i·(G / reference)^i."""
    return lambda siemens: sum(c * (siemens / reference) ** i for i, c in enumerate(coefficients))


NEURRAM = {
    1.0: polynomial(0.348, 16.030, -43.853, 45.393, -16.815, reference=40),
    DAY: polynomial(0.701, 22.086, -50.773, 47.095, -16.458, reference=40),
    2 * DAY: polynomial(0.782, 20.274, -43.507, 37.062, -11.934, reference=40),
}
PROGRAMMING: dict[str, tuple[Law, float, float]] = {
    "PCM-Nandakumar": (polynomial(0.26348, 1.9650, -1.1731, reference=25), 0.0, 25.0),
    "PCM-Joshi": (polynomial(0.28638599, 0.07585724, -0.00178767), 0.0, 25.0),
    "Hermes-1": (polynomial(0.15781817, 2.32443916, -2.16310839, 0.68841818, reference=10.35), 0.0, 10.35),
    "Hermes-2": (polynomial(0.16603222, 4.71806468, -8.48101252, 4.68961419, reference=20.7), 0.0, 20.7),
    "NeuRRAM-1s": (NEURRAM[1.0], 0.0, 40.0),
    "NeuRRAM-1day": (NEURRAM[DAY], 0.0, 40.0),
    "NeuRRAM-2days": (NEURRAM[2 * DAY], 0.0, 40.0),
    "CMO-HfOx-0.2%": (polynomial(0.00081107, 0.00106879), 9.0, 90.0),
    "CMO-HfOx-2%": (polynomial(0.0112185, 0.0112903), 9.0, 90.0),
    "RRAM-Milo": (lambda siemens: max(-0.009107 * siemens + 4.782, 0.0), 50.0, 225.0),
}
"""σ right after programming, and the conductances that were measured."""


def pcm_exponent(siemens: float) -> tuple[float, float]:
    """µ_ν and σ_ν of Nandakumar et al."""
    x = math.log(siemens / 25)
    return min(max(-0.0155 * x + 0.0244, 0.049), 0.1), min(max(-0.0125 * x - 0.0059, 0.008), 0.045)


def hermes_exponent(siemens: float) -> tuple[float, float]:
    """µ_ν and σ_ν of the Hermes chip's two devices, as in aihwkit; unverified against the papers."""
    x = siemens / 20.7
    low = min(max(-0.0387 * math.log(x) - 0.0182, 0.0720), 0.13)
    mean = low if x < 0.0945 else 0.0736 - 0.0126 * x - 0.0436 * x * x
    low = min(max(-0.0117 * math.log(x) - 0.0057, 0.0091), 0.04)
    return mean, low if x < 0.3055 else 0.0073 + 0.0093 * x - 0.0118 * x * x


def decay(exponent: tuple[float, float], growth: float) -> tuple[float, float]:
    """Mean and σ of (t / t0)^−|ν|, ν ~ N(µ, σ²), by summing over ν; growth = t / t0."""
    nu = np.abs(exponent[0] + exponent[1] * np.linspace(-6, 6, 2001))
    weight = np.exp(-(np.linspace(-6, 6, 2001) ** 2) / 2)
    left = growth**-nu
    mean = float((weight * left).sum() / weight.sum())
    return mean, math.sqrt(max(float((weight * left**2).sum() / weight.sum()) - mean**2, 0.0))


def drifting(preset: str, t0: float, exponent: Callable[[float], tuple[float, float]], targets: Any) -> Any:
    """Drift alone, for a few targets in µS."""
    unit = PROGRAMMING[preset][2]

    def law(target: float, part: int) -> Law:
        return lambda time: target * decay(exponent(target), 1 + time / t0)[part]

    def at(time: float) -> devices.Device:
        return devices.preset(preset, programming_noise=0, read_noise=0, time=time)

    times = (60.0, 3600.0, DAY, 30 * DAY, YEAR)
    return tuple(Ageing(f"{g:g} µS", g, law(g, 0), law(g, 1), at, times, unit) for g in targets)


def programming(*names: str, quiet: bool = False) -> tuple[Series, ...]:
    """σ of a few presets right after programming, without clipping, which no fit has."""
    off = {"drift": 0.0, "read_noise": 0.0} if quiet else {}
    found = []
    for name in names:
        fit, low, high = PROGRAMMING[name]
        at = tuple(float(x) for x in np.linspace(low, high, 11))
        device = devices.preset(name, clip=False, **off)
        found.append(Series(name, fit, device, at, (low, high), unit=high))
    return tuple(found)


def cmo(target: float) -> Ageing:
    """Relaxation and read noise of CMO/HfOx cells accepted at 2 %."""

    def std(time: float) -> float:
        read = 0.02773 * math.log10(target) * math.sqrt(math.log((time + 1e-6) / 2e-6))
        return math.hypot(0.0112185 + 0.0112903 * target, 0.4118 + 0.0420 * math.log(time), read)

    def at(time: float) -> devices.Device:
        return devices.preset("CMO-HfOx-2%", clip=False, time=time)

    times = (1.0, 60.0, 3600.0, DAY, 30 * DAY, YEAR)
    label = f"{target:g} µS"
    return Ageing(
        label, target, lambda t: target - 0.0890 * math.log(t), std, at, times, 90.0, moved_only=True
    )


def neurram(target: float) -> Ageing:
    """The three times that were measured; between them nothing is known, and the line is a guide."""

    def std(time: float) -> float:
        return float(
            np.interp(math.log(time), [math.log(t) for t in NEURRAM], [f(target) for f in NEURRAM.values()])
        )

    def at(time: float) -> devices.Device:
        return devices.preset("NeuRRAM-1s", clip=False, time=time)

    return Ageing(f"{target:g} µS", target, lambda _: target, std, at, tuple(NEURRAM), 40.0)


def fractions(label: str, fit: Law, device: devices.Device, at: Any = None) -> Series:
    """A law of fractions of G_max."""
    return Series(label, fit, device, at or tuple(i / 10 for i in range(11)), (0.0, 1.0))


def levels(name: str, s: float) -> Series:
    """σ = 0.1·[1, s, s, 1] / √(0.4 s² + 0.6), of the whole weight: levels 1 and 2 within 0.25 … 0.75."""
    device = devices.preset(name, sigma=0.1)
    scale = 0.1 / math.sqrt(0.4 * s * s + 0.6)
    middles = (0.05, 0.15, 0.35, 0.45, 0.55, 0.65, 0.85, 0.95)
    return fractions(name, lambda g: scale * (s if 0.25 < g < 0.75 else 1.0), device, middles)


def stuck(g: float) -> float:
    """σ of a cell that is 0 with 9.04 %, 1 with 1.75 %, and g otherwise."""
    mean = 0.0175 + 0.8921 * g
    return math.sqrt(0.0175 + 0.8921 * g * g - mean * mean)


MEASURED = devices.Law(
    g=(0.0, 0.25, 0.5, 0.75, 1.0),
    bias=(0.01, 0.004, 0.0, -0.004, -0.01),
    device_to_device=(0.006, 0.018, 0.024, 0.02, 0.012),
    cycle_to_cycle=(0.004, 0.01, 0.012, 0.01, 0.006),
)
"""Invented numbers, to show the form of a measured law."""


def measured(g: float) -> float:
    """The two parts together, interpolated linearly."""
    parts = (
        np.interp(g, MEASURED.g, part or ()) for part in (MEASURED.device_to_device, MEASURED.cycle_to_cycle)
    )
    return math.hypot(*(float(part) for part in parts))


SIEMENS, OF_MAX, TIME = "target conductance, µS", "target conductance, of G_max", "time, logarithmic"
SIGMA_US, SIGMA = "σ, µS", "σ, of G_max"
AFTER = "σ right after programming"


def pages() -> dict[str, tuple[Panel, ...]]:
    """The panels of every page, by the page's name."""
    log_normal = math.sqrt((math.exp(0.25) - 1) * math.exp(0.25))
    example = devices.Measured(laws=(MEASURED,), g_max=25.0, source="invented")
    ageing = f"{TIME}; one σ to either side"
    pcm = drifting("PCM-Nandakumar", 20.0, pcm_exponent, (5.0, 12.5, 25.0))
    hermes = drifting("Hermes-2", 300.0, hermes_exponent, (4.0, 10.0, 20.0))
    relative = (
        fractions("Mismatch-Buechel", lambda g: 0.3 * g, devices.preset("Mismatch-Buechel")),
        fractions("LogNormal-CorrectNet", lambda g: log_normal * g, devices.preset("LogNormal-CorrectNet")),
    )
    ladder = (("RRAM1", 1), ("FeFET2", 2), ("FeFET3", 3), ("RRAM4", 4), ("FeFET6", 6))
    uniform = fractions("gaussian, σ = 0.1", lambda _: 0.1, devices.Gaussian(sigma=0.1))
    two_states = Series(
        "MRAM-placeholder", lambda _: 0.045, devices.preset("MRAM-placeholder"), (0.0, 1.0), (0.0, 1.0)
    )
    return {
        "uniform": (Panel("The same σ at every conductance", OF_MAX, SIGMA, (uniform,)),),
        "levels": (
            Panel("σ of each level at σ = 0.1", OF_MAX, SIGMA, tuple(levels(*one) for one in ladder)),
        ),
        "relative": (Panel("σ in proportion to the conductance", OF_MAX, SIGMA, relative),),
        "polynomial": (
            Panel(AFTER, SIEMENS, SIGMA_US, programming("RRAM-Milo")),
            Panel(AFTER, SIEMENS, SIGMA_US, programming("PCM-Joshi")),
        ),
        "pcm": (
            Panel(AFTER, SIEMENS, SIGMA_US, programming("PCM-Nandakumar", quiet=True)),
            Panel("Drift alone", ageing, "conductance, µS", pcm),
        ),
        "hermes": (
            Panel(AFTER, SIEMENS, SIGMA_US, programming("Hermes-1", "Hermes-2", quiet=True)),
            Panel("Drift alone, two devices", ageing, "conductance, µS", hermes),
        ),
        "neurram": (
            Panel(
                "σ at three times",
                SIEMENS,
                SIGMA_US,
                programming("NeuRRAM-1s", "NeuRRAM-1day", "NeuRRAM-2days"),
            ),
            Panel("Relaxation", ageing, "conductance, µS", tuple(neurram(g) for g in (8.0, 20.0, 36.0))),
        ),
        "cmo_hfox": (
            Panel(AFTER, SIEMENS, SIGMA_US, programming("CMO-HfOx-0.2%", "CMO-HfOx-2%")),
            Panel(
                "Relaxation and read noise",
                ageing,
                "way from the target, µS",
                tuple(cmo(g) for g in (18.0, 45.0, 90.0)),
            ),
        ),
        "mram": (Panel("A placeholder of one σ", OF_MAX, SIGMA, (two_states,)),),
        "stuck_at": (
            Panel(
                "What faults alone do",
                OF_MAX,
                SIGMA,
                (fractions("StuckAt-RRAM", stuck, devices.preset("StuckAt-RRAM")),),
            ),
        ),
        "measured": (
            Panel(
                "An invented law of five levels", OF_MAX, SIGMA, (fractions("example", measured, example),)
            ),
        ),
    }


def specification(panels: Sequence[Panel]) -> dict[str, Any]:
    """All panels of a page as one specification."""
    return side_by_side([panel.spec() for panel in panels], columns=2, apart=True)


def mark(panels: Sequence[Panel]) -> str:
    """What a plot says of the fits it shows, so that a test sees whether it is the latest."""
    told = [[panel.title, *(row for one in panel.series for row in one.line())] for panel in panels]
    return mark_of("fits", told)


def main() -> int:
    """Write the plot of every page."""
    for name, panels in pages().items():
        write_plot(PLOTS / f"{name}.svg", specification(panels), mark(panels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
