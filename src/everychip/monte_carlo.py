"""Monte Carlo: program many chips, one at a time, and measure each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from everychip.calibration import calibrate
from everychip.chip import Purpose, addresses, disturb, run
from everychip.data import Arrays, as_arrays
from everychip.draws import Draws
from everychip.errors import ModelError
from everychip.hardware import Hardware
from everychip.layouts import laid_out, safe_layout
from everychip.metrics import per_chip
from everychip.mitigate import Address, Mitigation, Treatment
from everychip.modes import evaluating
from everychip.progress import Event, Progress, listening
from everychip.refusals import must_be, whole
from everychip.rng import contained, rng_for
from everychip.soundness import device_of, must_be_finite
from everychip.stopping import Until, enough

Precision = Literal["float32", "bfloat16"]


def evaluate(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    chips: int = 100,
    seed: int = 0,
    batch_size: int = 500,
    precision: Precision = "float32",
    images: int | None = None,
    until: str | None = None,
    mitigation: Mitigation | Mapping[str, Any] | str | None = None,
    calibration: Any = None,
    purpose: Purpose = "evaluate",
    progress: Progress = None,
) -> Draws:
    """Program `chips` chips and measure each on the test data; the model is neither changed nor moved.

    data: (x, y), a DataLoader, Arrays or an `everychip.data` component (its test part). images: None measures
    every chip on all test images; k measures each chip on its own random k of them, which is enough for a
    mean (two-stage sampling) but not for a percentile. until: "±0.2" stops as soon as the mean is known to
    ±0.2 points, after 300 to `chips` chips, by a 95 % interval that bears watching and holds also where 1 %
    of chips or more fail (`SequentialT`; "±0.2 failures 5 %": after 60);
    "±0.2 bernstein" assumes no law of the chips and needs thousands of them (`Sequential`). mitigation: what
    is done to each chip after it is programmed, as a component, its table or its kind; calibration: the
    training data that it measures with, and that an array's converters take their ranges from (`calibrate`),
    in any of the same forms.
    Chips 0 … chips−1 of a seed are the same whatever is asked beside them. At any time one chip and one batch
    of activations are held.

    >>> import torch, everychip as ec
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> x = torch.randn(64, 4, generator=ec.rng_for(0)); y = model(x).argmax(1)
    >>> draws = evaluate(model, hw, (x, y), chips=8, seed=0)
    >>> len(draws.accuracy), bool((draws.accuracy > 0.5).all())
    (8, True)
    """
    must_be_positive(chips=chips, images=images, batch_size=batch_size)
    seed, rule = whole(seed, "evaluate.seed"), None if until is None else Until.parse(until, chips=chips)
    stops = enough(rule)
    test = as_arrays(data, split="test")
    k = len(test) if images is None else min(images, len(test))
    layout = probe(model, test.x[:2]).layout
    hardware = ranged(model, hardware, calibration, layout=layout, seed=seed, precision=precision)
    write = _writer(model, hardware, seed=seed, purpose=purpose)
    bound = _bound(mitigation, model, hardware, calibration, layout=layout, seed=seed)
    treat = _treating(bound, device_of(model), precision)
    gauge = partial(measure, model, batch_size=batch_size, precision=precision, layout=layout)
    rows: list[dict[str, float]] = []
    with torch.no_grad(), evaluating(model), listening(progress) as tell:
        for chip in range(chips):
            seen = part_of(test, k, seed=seed, chip=chip)
            with contained(seed, purpose, chip, "forward"):  # for layers that draw in evaluation, too
                # The chip has no name, so that it is gone before the next one is programmed.
                rows.append(gauge(treat(write(chip), seed=seed, path=(purpose, chip)), seen))
            tell(Event("chips", chip + 1, chips, {"accuracy": rows[-1]["accuracy"]}))
            if stops(rows[-1]["accuracy"]):
                break
    facts = () if bound is None else bound.facts()
    draws = Draws.of(rows, seed=seed, images=k, whole_test=k == len(test), until=rule, treatment=facts)
    return replace(draws, purpose=purpose, cells=_drawn(hardware.crossbar(model)))


def _drawn(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """By what the chips of two models are told apart: which matrices are drawn, and of what shapes."""
    shapes = {name: "×".join(map(str, weights[name].shape)) for name in weights}
    return tuple(f"{address} {shapes[name]}" for name, address in addresses(weights).items())


def measure(
    model: nn.Module,
    chip: Mapping[str, Tensor],
    data: Arrays,
    *,
    batch_size: int = 500,
    precision: Precision = "float32",
    layout: torch.memory_format | None = None,
) -> dict[str, float]:
    """The metrics of one chip (or, with an empty chip, of the digital model) in evaluation mode.

    layout: the memory format of images and convolution weights; None finds out which the model can take.
    """
    device = device_of(model)
    layout = layout or probe(model, data.x[:2]).layout
    fast = {name: laid_out(tensor, layout) for name, tensor in chip.items()}
    del chip
    outputs = []
    with torch.no_grad(), evaluating(model), autocast(device, precision):
        for x in data.x.split(batch_size):  # type: ignore[no-untyped-call]
            outputs.append(run(model, fast, laid_out(x.to(device), layout)).float())
    z = torch.cat(outputs).cpu()
    return per_chip(z.reshape(-1, z.shape[-1]), data.y.reshape(-1))


@dataclass(frozen=True)
class Probe:
    """What a trial run showed: the shape of its output, and the memory format that the model takes."""

    shape: tuple[int, ...]
    layout: torch.memory_format

    @property
    def classes(self) -> int:
        """How many logits the model gives."""
        return self.shape[-1]


def probe(model: nn.Module, x: Tensor, *, layout: torch.memory_format | None = None) -> Probe:
    """Run the model on a few inputs, channels-last where they are images and the model can be run so.

    It cannot where it calls `.view` on the features of a convolution, which needs them contiguous.
    """
    must_be_finite(model.named_parameters())
    layout = layout or safe_layout(model, x)
    kernels = {name: laid_out(p, layout) for name, p in model.named_parameters() if p.ndim == 4}
    try:
        with torch.no_grad(), evaluating(model), contained(0, "probe"):
            images = laid_out(x.to(device_of(model)), layout)
            return Probe(tuple(run(model, kernels, images).shape), layout)
    except (RuntimeError, IndexError) as error:
        if layout is torch.channels_last and "view size is not compatible" in str(error):
            return probe(model, x, layout=torch.contiguous_format)
        raise ModelError(
            type(model).__name__,
            found=f"that it fails on inputs of shape {list(x.shape)}, {x.dtype} ({error})",
            expected="a model that takes a batch of the data's inputs",
        ) from error


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which products are computed in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _writer(
    model: nn.Module, hardware: Hardware, *, seed: int, purpose: Purpose
) -> Callable[[int], dict[str, Tensor]]:
    """What programs the chip of a number; the model is looked through once, not for every chip."""
    weights, columns = hardware.crossbar(model), hardware.columns(model)
    return lambda chip: disturb(weights, hardware, seed=seed, path=(purpose, chip), columns=columns)


def ranged(
    model: nn.Module,
    hardware: Hardware,
    calibration: Any,
    *,
    layout: torch.memory_format,
    seed: int,
    precision: Precision,
) -> Hardware:
    """The hardware with ranges for its converters, where there is data to measure them and none are set."""
    array = hardware.array
    if array is None or array.ranges is not None or calibration is None:
        return hardware
    with autocast(device_of(model), precision):
        return calibrate(model, hardware, calibration, seed=seed, layout=layout)


def _bound(
    mitigation: Mitigation | Mapping[str, Any] | str | None,
    model: nn.Module,
    hardware: Hardware,
    calibration: Any,
    *,
    layout: torch.memory_format,
    seed: int,
) -> Treatment | None:
    """The mitigation for this model, if there is one, its images in the memory format of the evaluation's."""
    if mitigation is None:
        return None
    if calibration is not None:
        arrays = as_arrays(calibration, split="train")
        calibration = Arrays(laid_out(arrays.x, layout), arrays.y)
    with contained(seed, "mitigation"):
        return Mitigation.parse(mitigation).bind(model, hardware, calibration, seed=seed)


def _treating(
    treat: Treatment | None, device: torch.device, precision: Precision
) -> Callable[..., dict[str, Tensor]]:
    """What is done to each chip: nothing, or the mitigation, in the precision of the evaluation."""

    def treated(chip: dict[str, Tensor], *, seed: int, path: Address) -> dict[str, Tensor]:
        if treat is None:
            return chip
        with autocast(device, precision):
            return treat(chip, seed=seed, path=path)

    return treated


def must_be_positive(**numbers: int | None) -> None:
    """Refuse a number of chips or images below 1."""
    for name, number in numbers.items():
        if number is not None:
            must_be(number, f"evaluate.{name}", whole=True, least=1)


def part_of(data: Arrays, k: int, *, seed: int, chip: int) -> Arrays:
    """The test images that a chip meets: all of them, or its own random k."""
    if k == len(data):
        return data
    order = torch.randperm(len(data), generator=rng_for(seed, "images", chip))
    return data.take(order[:k])
