"""Which of aihwkit's noise models says what a device says, and how it writes a weight."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices import Device, Hermes, NeuRram, Pcm
from everychip.devices.physical import Physical
from everychip.errors import ConfigError

_FITTED = (Pcm, Hermes, NeuRram)


@dataclass(frozen=True)
class Counterpart:
    """A noise model of aihwkit, or why there is none (`model` is then None)."""

    model: Any
    reason: str = ""


def counterpart(device: Device) -> Counterpart:
    """The noise model of aihwkit that states the same law as a `pcm`, `hermes` or `neurram` device.

    The laws are the same at the G_max they were fitted at: at another one, aihwkit stretches a fit to it,
    while here σ belongs to a conductance in µS. Its `ReRamWan2022NoiseModel` never reads the reference of
    40 µS that it stores, so that its noise is 1.6 times the fit at its default G_max of 25 µS; here it is
    given the G_max of the fit, where nothing is left to scale.
    """
    if not isinstance(device, _FITTED):
        return Counterpart(None, f"{device.label} has no noise model in aihwkit that says the same")
    reason = _other_than_fitted(device)
    return Counterpart(None, reason) if reason else Counterpart(_noise_model(device))


def _other_than_fitted(device: Physical) -> str:
    fitted = type(device)(devices=device.devices) if isinstance(device, Hermes) else type(device)()
    if (device.g_max, device.valid) != (fitted.g_max, fitted.valid):
        return f"aihwkit stretches the fit of {device.label} to another G_max than {fitted.g_max:g} µS"
    if not device.clip:
        return "aihwkit clips every conductance at 0: clip = true"
    if isinstance(device, NeuRram) and device.time not in device.fits:
        return "aihwkit does not interpolate between the times of the NeuRRAM fits"
    return ""


def _noise_model(device: Device) -> Any:
    from aihwkit.inference.noise.hermes import HermesNoiseModel
    from aihwkit.inference.noise.pcm import PCMLikeNoiseModel
    from aihwkit.inference.noise.reram import ReRamWan2022NoiseModel

    if isinstance(device, NeuRram):
        return ReRamWan2022NoiseModel(g_max=device.g_max)
    if not isinstance(device, Pcm | Hermes):
        raise ConfigError("export", found=device.label, expected="pcm, hermes or neurram")
    options = {
        "g_max": device.g_max,
        "t_read": device.t_read,
        "t_0": device.t0,
        "prog_noise_scale": device.programming_noise,
        "read_noise_scale": device.read_noise,
        "drift_scale": device.drift,
    }
    if isinstance(device, Hermes):
        return HermesNoiseModel(num_devices=device.devices, **options)
    return PCMLikeNoiseModel(**options)


def written(model: Any, weight: Float[Tensor, "out in"], *, time: float) -> Float[Tensor, "out in"]:
    """One draw of a weight that aihwkit writes and reads `time` seconds later.

    What its `apply_noise` does, which raises at a time of 0. Each conductance of a pair is written, drifts
    and is read on its own; `drift_analog_weights` of aihwkit instead splits the difference of a written pair
    anew, and so forgets what its idle cell held. It draws from PyTorch's global generator.
    """
    with torch.no_grad(), warnings.catch_warnings():
        # Its Hermes model indexes with lists, which PyTorch warns of once.
        warnings.filterwarnings("ignore", "Using a non-tuple sequence", UserWarning)
        targets, scale = model.g_converter.convert_to_conductances(weight)
        found = []
        for g in targets:
            programmed = model.apply_programming_noise_to_conductance(g.clone())
            exponents = model.generate_drift_coefficients(g.clone())
            found.append(model.apply_drift_noise_to_conductance(programmed, exponents, time))
        noisy: Tensor = model.g_converter.convert_back_to_weights(found, scale)
        return noisy
