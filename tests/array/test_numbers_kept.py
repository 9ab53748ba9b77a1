"""A weight on tiles keeps its converters wherever it is sent, and lets its numbers out nowhere."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import everychip as ec
from everychip.array import Array, TiledWeight
from everychip.errors import ArrayError
from everychip.hardware.chip import run
from everychip.rng import rng_for

HW = ec.Hardware(
    device=ec.devices.Gaussian(sigma=0.1),
    mapping=ec.mapping.BitSliced(quantize=True),
    array=Array(dac_bits=3, adc_bits=3, read_noise=0.1),
)
X = torch.randn(16, 8, generator=rng_for(0, "x"))


def saved(chip: Any) -> Any:
    file = io.BytesIO()
    torch.save(chip, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda chip: pickle.loads(pickle.dumps(chip)),  # noqa: S301
    "torch.save": saved,
    "deepcopy": copy.deepcopy,
    "copy": lambda chip: {name: copy.copy(weight) for name, weight in chip.items()},
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copied_chip_is_read_as_the_chip_is(how: str) -> None:
    model = nn.Linear(8, 4)
    taken = COPIES[how](ec.program(model, HW, seed=0, chip=0))
    assert torch.equal(run(model, taken, X), run(model, ec.program(model, HW, seed=0, chip=0), X))


def test_a_clean_gradient_weight_survives_a_pickle() -> None:
    method = ec.methods.NoiseInjection(noise_gradient="clean")
    objective = method.bind(nn.Linear(8, 4), HW.replace(array=None), seed=0)
    chip = objective.chip()
    taken = pickle.loads(pickle.dumps(chip))  # noqa: S301
    assert torch.equal(run(objective.model, taken, X), run(objective.model, chip, X))
    assert not torch.equal(run(objective.model, taken, X), objective.model(X))


def into(write: Callable[[Tensor, Tensor], Any]) -> Callable[[TiledWeight], Any]:
    return lambda weight: write(torch.zeros(4, 8), weight)


LEAKS: dict[str, Callable[[TiledWeight], Any]] = {
    "setitem": into(lambda t, w: t.__setitem__(slice(None), w)),
    "copy_": into(lambda t, w: t.copy_(w)),
    "foreach": into(lambda t, w: torch._foreach_copy_([t], [w])),
    "numpy": lambda w: w.detach().numpy(),
    "force": lambda w: w.numpy(force=True),
    "asarray": np.asarray,
    "tolist": lambda w: w.tolist(),
    "item": lambda w: w[0, 0].item(),
    "float": lambda w: float(w[0, 0]),
    "dlpack": torch.from_dlpack,
    "storage": lambda w: w.untyped_storage(),
    "cat": lambda w: torch.cat([w, w]),
    "sum": lambda w: w.sum(),
}


@pytest.mark.parametrize("way", LEAKS)
def test_no_way_out_for_the_numbers(way: str) -> None:
    weight = ec.program(nn.Linear(8, 4), HW, seed=0, chip=0)["weight"]
    with pytest.raises(ArrayError, match=r'hardware.digital = \["weight"\]'):
        LEAKS[way](weight)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_safetensors_do_not_write_a_weight_without_its_converters(tmp_path: Path) -> None:
    with pytest.raises(ArrayError):
        save_file(ec.program(nn.Linear(8, 4), HW, seed=0, chip=0), tmp_path / "chip.safetensors")


def test_what_is_known_of_a_weight_may_be_asked() -> None:
    weight = ec.program(nn.Linear(8, 4), HW, seed=0, chip=0)["weight"]
    assert (tuple(weight.shape), weight.dtype, weight.grad) == ((4, 8), torch.float32, None)
    assert (weight.numel(), weight.is_floating_point(), len(weight), weight.stride()) == (32, True, 4, (8, 1))
    assert "tensor" in repr(weight)


class Table(nn.Module):
    """Adds a row of a table, which is a view of it: a part with a number behind its name."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.layer = nn.Module(), nn.Linear(8, 4)
        self.inner.table = nn.Parameter(torch.randn(9, 8, generator=rng_for(0)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + self.inner.table[0])


def test_the_remedy_of_a_refusal_is_one_that_works() -> None:
    data = (X, torch.arange(16) % 4)
    with pytest.raises(ArrayError) as refused:
        ec.evaluate(Table(), HW, data, chips=1)
    pattern = str(refused.value).split('["')[1].split('"]')[0]
    assert pattern == "inner.table"
    assert len(ec.evaluate(Table(), HW.replace(digital=(pattern,)), data, chips=1)) == 1
