"""Models that nobody thinks of are trained and programmed rightly, or refused in one line."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import everychip as ec
from everychip.array import Array
from everychip.errors import ConfigError, DataError, ModelError, StoreError
from everychip.hardware.chip import addresses, run
from everychip.network.identity import identity_of
from everychip.rng import rng_for, seeded_global_generator

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), mapping=ec.mapping.Direct())
X, Y = torch.randn(48, 8, generator=rng_for(0, "x")), torch.arange(48) % 4
METHOD = ec.methods.NoiseInjection()


def mlp(seed: int = 0, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    with seeded_global_generator(seed, "mlp"):
        return nn.Sequential(nn.Linear(8, 8), activation(), nn.Linear(8, 4))


def fitted(model: nn.Module, x: Tensor = X, y: Tensor = Y, **options: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch teaches little
        return ec.fit(model, METHOD, (x, y), hardware=HW, **{"epochs": 1, "batch_size": 8, **options})


NUMBERS = [np.int64(3), np.int8(3), np.uint16(3), torch.tensor(3), torch.tensor([3], dtype=torch.int16)]


@pytest.mark.parametrize("three", NUMBERS, ids=lambda three: str(three.dtype))
def test_a_number_names_the_same_chip_whatever_type_it_has(three: Any) -> None:
    model = mlp()
    expected = ec.program(model, HW, seed=3, chip=3)["0.weight"]
    assert torch.equal(ec.program(model, HW, seed=three, chip=three)["0.weight"], expected)
    drawn = torch.rand(4, generator=rng_for(3, 3, np.str_("a"), np.float64(0.5)))
    assert torch.equal(drawn, torch.rand(4, generator=rng_for(three, three, "a", 0.5)))
    scores = ec.evaluate(model, HW, (X, Y), chips=2, seed=3)
    assert scores.compare(ec.evaluate(model, HW, (X, Y), chips=2, seed=three)).difference.estimate == 0
    weights = fitted(mlp(), seed=3).state_dict()
    assert torch.equal(fitted(mlp(), seed=three).state_dict()["0.weight"], weights["0.weight"])


@pytest.mark.parametrize("odd", [1.5, "3", None])
def test_a_chip_and_a_seed_that_are_no_whole_numbers_are_refused(odd: Any) -> None:
    with pytest.raises(ConfigError, match="expected a whole number"):
        ec.program(mlp(), HW, seed=0, chip=odd)
    with pytest.raises(ConfigError, match="expected a whole number"):
        ec.evaluate(mlp(), HW, (X, Y), chips=2, seed=odd)


def other_code() -> nn.Module:
    class Net(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[2](torch.sin(self[0](x)))

    return Net(*mlp())


def with_setting() -> nn.Module:
    model = mlp()
    model.slope = 0.5
    return model


def frozen() -> nn.Module:
    model = mlp()
    model[0].requires_grad_(False)
    return model


OTHERS = {
    "initial weights": lambda: mlp(1),
    "activation": lambda: mlp(0, nn.Tanh),
    "code": other_code,
    "setting": with_setting,
    "frozen layer": frozen,
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_is_not_taken_for_that_of_a_network_that_differs(what: str, tmp_path: Path) -> None:
    place = tmp_path / "c.safetensors"
    fitted(mlp(), checkpoint=place)
    fitted(mlp(), checkpoint=place)
    with pytest.raises(StoreError, match="checkpoint of another training"):
        fitted(OTHERS[what](), checkpoint=place)


def test_identity_does_not_depend_on_comments_or_on_the_place_in_memory() -> None:
    assert identity_of(mlp()) == identity_of(mlp()) != identity_of(mlp(1))


class Counted(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"seen": 3}

    def set_extra_state(self, state: Any) -> None:
        self.loaded = state


def test_an_extra_state_is_kept_in_training_and_refused_where_it_cannot_be_written(tmp_path: Path) -> None:
    assert fitted(nn.Sequential(Counted(8, 4)))[0].loaded == {"seen": 3}
    with pytest.raises(ModelError, match=r"a dict from get_extra_state.*train without checkpoint="):
        fitted(nn.Sequential(Counted(8, 4)), checkpoint=tmp_path / "c.safetensors")


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 4, dtype=torch.complex64), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x.to(torch.complex64)).abs())


def test_complex_parameters_are_trained() -> None:
    model = Complex()
    before = model.a.weight.detach().clone()
    assert not torch.equal(fitted(model, keep="last").a.weight, before)


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.l = nn.Embedding(10, 8, sparse=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.l(self.e(x).mean(1))


def test_sparse_gradients_are_trained_by_sgd_and_refused_by_adam() -> None:
    tokens = torch.randint(0, 10, (48, 6), generator=rng_for(0))
    with pytest.raises(ModelError, match=r'^e.weight: .* optimizer = "sgd"'):
        fitted(Bag(), tokens)
    with pytest.raises(ModelError, match="weight decay"):
        fitted(Bag(), tokens, optimizer="sgd", weight_decay=0.1)
    model = Bag()
    before = model.e.weight.detach().clone()
    assert not torch.equal(fitted(model, tokens, optimizer="sgd", keep="last").e.weight, before)


@pytest.mark.parametrize("shape", [(), (5, 4), (4, 3, 3), (1, 4)], ids=str)
def test_outputs_that_are_no_rows_of_logits_are_refused_before_training(shape: tuple[int, ...]) -> None:
    class Shaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, int(np.prod(shape)))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).reshape(len(x), *shape)

    with pytest.raises(ModelError, match="expected one row of logits per input"):
        fitted(Shaped())


def test_training_does_not_depend_on_the_gradient_mode_it_is_called_in() -> None:
    expected = fitted(mlp()).state_dict()
    for mode in (torch.no_grad, torch.inference_mode):
        model = mlp()
        with mode():
            fitted(model)
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_a_model_made_in_inference_mode_and_an_exported_one_are_refused() -> None:
    with torch.inference_mode():
        model = mlp()
    with pytest.raises(ModelError, match=r"^0.weight: found a tensor made in torch.inference_mode"):
        fitted(model)
    rows = ({0: torch.export.Dim("n", min=2)},)
    exported = torch.export.export(mlp(), (X,), dynamic_shapes=rows).module()
    with pytest.raises(ModelError, match="no training mode"):
        fitted(exported)


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_traced_and_parallel_children_are_refused_by_name() -> None:
    for child in (torch.jit.script(Half()), torch.jit.trace(Half(), X), nn.DataParallel(Half())):
        model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(child, nn.Linear(8, 4)))
        for verb in (
            lambda: ec.program(model, HW, seed=0, chip=0),  # noqa: B023
            lambda: ec.check(model, HW, X),  # noqa: B023
            lambda: ec.evaluate(model, HW, (X, Y), chips=1),  # noqa: B023
        ):
            with pytest.raises(ModelError, match=r"^1\.0"):
                verb()


class Quantised(nn.Module):
    """Bytes with a scale per row, or per group of four inputs, as parameters or as buffers."""

    def __init__(self, groups: int, dtype: torch.dtype, buffer: bool) -> None:
        super().__init__()
        weight = torch.randint(0, 100, (4, 8), generator=rng_for(0)).to(dtype)
        if buffer:
            self.register_buffer("weight", weight)
        else:
            self.weight = nn.Parameter(weight, requires_grad=False)
        self.scale = nn.Parameter(torch.rand(4, groups, generator=rng_for(1)))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.weight.float() * self.scale.repeat_interleave(8 // self.scale.shape[1], 1)).T


@pytest.mark.parametrize("buffer", [False, True])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_scales_of_a_matrix_of_bytes_get_no_programming_noise(
    groups: int, dtype: torch.dtype, buffer: bool
) -> None:
    model = nn.Sequential(nn.Linear(8, 8), Quantised(groups, dtype, buffer))
    assert list(ec.program(model, HW, seed=0, chip=0)) == ["0.weight"]


def test_weights_in_one_byte_are_refused_unless_they_stay_digital() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 8).to(torch.float8_e4m3fn), requires_grad=False)
            self.l = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.l(x @ self.weight.to(x.dtype).T)

    with pytest.raises(ModelError, match=r"^weight: found float8_e4m3fn weights"):
        ec.evaluate(Small(), HW, (X, Y), chips=1)
    assert len(ec.evaluate(Small(), HW.replace(digital=("weight",)), (X, Y), chips=1)) == 1


@pytest.mark.parametrize("place", ["0.weight", "2.bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_have_no_accuracy(place: str, value: float) -> None:
    model = mlp()
    model.get_parameter(place).data.view(-1)[0] = value
    looks = [
        lambda: ec.evaluate(model, HW, (X, Y), chips=2),
        lambda: ec.sensitivity(model, HW, (X, Y), chips=2),
        lambda: fitted(model),
    ]
    if place == "0.weight":
        looks += [lambda: ec.program(model, HW, seed=0, chip=0), lambda: ec.effective_sigma(model, HW)]
    for look in looks:
        with pytest.raises(ModelError, match=f"^{place}: found 1 NaN or infinity"):
            look()


def test_a_model_without_parameters_is_refused_as_one_without_matrices() -> None:
    for verb in (
        lambda: ec.evaluate(nn.Flatten(), HW, (X, Y), chips=1),
        lambda: fitted(nn.Flatten()),
        lambda: ec.check(nn.Flatten(), HW, X),
    ):
        with pytest.raises(ModelError):
            verb()


class Reservoir(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("random", torch.randn(8, 16, generator=rng_for(0)))
        self.out = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(x @ self.random))


def test_check_names_the_buffer_that_products_multiply() -> None:
    coverage = ec.check(Reservoir(), HW, X)
    assert (coverage.of_buffers, coverage.between_activations) == ({"random": 8 * 16}, 0)
    assert coverage.macs == 16 * 4 / (16 * 4 + 8 * 16)
    assert "multiply a buffer (random)" in coverage.summary()
    assert type(coverage).model_validate(coverage.facts()) == coverage


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def averaged(model: nn.Module) -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(model)


def compiled_average(model: nn.Module) -> nn.Module:
    return compiled(averaged(model))


WRAPPERS = [compiled, compiled_in_place, averaged, compiled_average]
NEEDS_NEWER = not hasattr(torch.compiler, "set_stance")
"""Whether this PyTorch (before 2.6) cannot run a compiled model as it is written, which an array needs."""


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("array", [None, Array(dac_bits=4, adc_bits=6, read_noise=0.1)])
def test_pytorchs_wrappers_do_not_change_the_chips(wrap: Any, array: Array | None) -> None:
    hw = HW.replace(array=array)
    plain = ec.evaluate(mlp(), hw, (X, Y), chips=4, seed=0)
    if NEEDS_NEWER and array is not None and wrap is not averaged:
        with pytest.raises(ec.errors.ModelError, match=r"use PyTorch 2\.6 or later"):
            ec.evaluate(wrap(mlp()), hw, (X, Y), chips=4, seed=0)
        return
    wrapped = ec.evaluate(wrap(mlp()), hw, (X, Y), chips=4, seed=0)
    assert torch.allclose(wrapped.nll, plain.nll, rtol=1e-6)
    assert wrapped.compare(plain).difference.estimate == 0


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_several_chips_in_one_call_go_through_pytorchs_wrappers(wrap: Any, monkeypatch: Any) -> None:
    fast = partial(torch.compile, backend="eager")
    monkeypatch.setattr("everychip.network.vectorised.torch.compile", fast)
    alone = ec.evaluate(mlp(), HW, (X, Y), chips=5, seed=0)
    if NEEDS_NEWER and wrap is compiled_average:
        with pytest.raises(ec.errors.ConfigError, match=r"evaluate\.at_once: found 2 beside a network that"):
            ec.evaluate(wrap(mlp()), HW, (X, Y), chips=5, seed=0, at_once=2)
        return
    together = ec.evaluate(wrap(mlp()), HW, (X, Y), chips=5, seed=0, at_once=2)
    assert torch.allclose(together.nll, alone.nll, rtol=1e-5)


def test_a_compiled_model_is_compiled_once_and_not_for_every_chip() -> None:
    from torch._dynamo.utils import counters

    model = compiled(mlp())
    ec.evaluate(model, HW, (X, Y), chips=2, seed=0)
    graphs = counters["stats"]["unique_graphs"]
    ec.evaluate(model, HW, (X, Y), chips=20, seed=1)
    assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.parametrize("gradient", ["detached", "clean"])
def test_a_compiled_model_trains_as_it_does_uncompiled(gradient: str) -> None:
    hw, method = HW.replace(array=Array(adc_bits=6)), ec.methods.NoiseInjection(noise_gradient=gradient)
    if NEEDS_NEWER:
        with pytest.raises(ec.errors.ModelError, match=r"use PyTorch 2\.6 or later"):
            method.bind(compiled(mlp()), hw, seed=0)(X, Y)
        return
    slopes = []
    for model in (mlp(), compiled(mlp()), compiled_in_place(mlp())):
        method.bind(model, hw, seed=0)(X, Y).backward()
        slopes.append(next(model.parameters()).grad)
    assert torch.equal(slopes[0], slopes[1])
    assert torch.equal(slopes[0], slopes[2])


def test_a_name_of_its_own_that_looks_like_a_wrappers_keeps_its_draws() -> None:
    assert addresses(["module.a", "b"]) == {"module.a": "module.a", "b": "b"}
    assert addresses(["a._orig_mod.w", "b.w"]) == {"a._orig_mod.w": "a.w", "b.w": "b.w"}


def test_draws_of_other_chips_are_not_compared_as_pairs() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    plain = ec.evaluate(mlp(), HW, (X, Y), chips=4)
    with pytest.raises(DataError, match="purpose"):
        plain.compare(ec.evaluate(mlp(), HW, (X, Y), chips=4, purpose="validate"))
    wide = nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 4))
    for other in (Wrapped(), wide):
        with pytest.raises(DataError, match=r"draws of other cells: .* beside"):
            plain.compare(ec.evaluate(other, HW, (X, Y), chips=4))
    partly = ec.evaluate(mlp(), HW.replace(digital=("2",)), (X, Y), chips=4)
    assert plain.compare(partly).n == 4


class Noisy(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return X[index] + torch.randn(8), index % 4


def test_data_that_change_from_read_to_read_are_refused_by_fit_and_still_read_by_evaluate() -> None:
    steady = torch.utils.data.TensorDataset(X, Y)
    for data in (Noisy(), torch.utils.data.DataLoader(Noisy(), batch_size=8, shuffle=True)):
        with pytest.raises(DataError, match=r"item 0 changed between two reads.*augment"):
            ec.fit(mlp(), METHOD, data, hardware=HW, epochs=1)
        assert len(ec.evaluate(mlp(), HW, data, chips=1)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ec.fit(mlp(), METHOD, torch.utils.data.DataLoader(steady, shuffle=True), hardware=HW, epochs=1)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int8", "int16"])
def test_labels_of_any_integer_type_are_the_same_labels(kind: str) -> None:
    nll = ec.evaluate(mlp(), HW, (X, Y), chips=2).nll
    labels = Y.numpy().astype(kind)
    assert torch.equal(ec.evaluate(mlp(), HW, (X.numpy(), labels), chips=2).nll, nll)


def test_a_label_too_large_for_int64_is_refused() -> None:
    labels = Y.numpy().astype("uint64")
    labels[5] = 2**64 - 1
    with pytest.raises(DataError, match="row 5"):
        ec.evaluate(mlp(), HW, (X.numpy(), labels), chips=2)


def test_a_function_of_torchs_own_is_run_with_the_chip_of_its_model() -> None:
    """A guard of the tests above: the chip does change the logits."""
    model = mlp()
    chip = ec.program(model, HW, seed=0, chip=0)
    expected = F.linear(F.relu(F.linear(X, chip["0.weight"], model[0].bias)), chip["2.weight"], model[2].bias)
    assert torch.equal(run(model, chip, X), expected)
