"""Models of bfloat16 and float16 take the data that people have, and their chips are those of float32."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import everychip as ec
from everychip.array.weight import plain
from everychip.errors import ModelError
from everychip.network.running import Runner
from everychip.rng import rng_for, seeded_global_generator

HALF = (torch.bfloat16, torch.float16)
HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
SLICED = ec.Hardware(
    device=ec.devices.preset("RRAM1", sigma=0.1), mapping=ec.mapping.BitSliced(weight_bits=8, cell_bits=2)
)
ARRAY = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), array=ec.Array(dac_bits=8, adc_bits=8))
X = torch.randn(48, 8, generator=rng_for(0, "x"))
Y = (X[:, 0] > 0).long()


def net(dtype: torch.dtype) -> nn.Sequential:
    with seeded_global_generator(0, "net"):
        layers = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)
        return nn.Sequential(*layers).to(dtype)


def frame():
    return pytest.importorskip("pandas").DataFrame(X.double().numpy()).assign(label=Y.numpy())


FORMS = {
    "numpy": lambda: (X.double().numpy(), Y.numpy()),
    "pandas": frame,
    "float32 tensors": lambda: (X, Y),
    "doubles": lambda: (X.double(), Y),
    "a loader": lambda: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=10),
    "a stream": lambda: ec.data.Stream(lambda: [(X[:24], Y[:24]), (X[24:], Y[24:])]),
}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("form", FORMS)
def test_a_half_precision_model_takes_data_of_any_form_as_it_takes_its_own(form, dtype):
    model = net(dtype).eval()
    there = ec.evaluate(model, HW, FORMS[form](), chips=3)
    cast = ec.evaluate(model, HW, (X.to(dtype), Y), chips=3)
    assert there.accuracy.tolist() == cast.accuracy.tolist()
    assert there.nll.tolist() == pytest.approx(cast.nll.tolist(), rel=1e-12)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("hardware", [HW, SLICED, ARRAY], ids=["gaussian", "sliced", "array"])
def test_conductances_of_a_half_precision_model_are_programmed_in_float32(dtype, hardware):
    model = net(dtype)
    exact = copy.deepcopy(model).float()
    chip, reference = (ec.program(one, hardware, seed=3, chip=1) for one in (model, exact))
    for name, tensor in reference.items():
        found, wanted = (plain(one) if hardware is ARRAY else one for one in (chip[name], tensor))
        assert found.dtype == dtype
        assert torch.equal(found, wanted.to(dtype))
        assert not torch.equal(found, model.state_dict()[name]), "no chip is ideal"


def test_accuracies_of_a_bfloat16_model_are_those_of_its_weights_in_float32():
    model = ec.fit(net(torch.float32), "noise_injection", (X, Y), hardware=HW, epochs=10, lr=0.02)
    half = copy.deepcopy(model).bfloat16()
    exact, rough = (ec.evaluate(one, HW, (X, Y), chips=20) for one in (half.float(), half.bfloat16()))
    assert float(exact.accuracy.mean()) > 0.8
    assert float((exact.accuracy - rough.accuracy).abs().max()) <= 2 / 48
    assert torch.allclose(exact.nll, rough.nll, atol=0.02)


@pytest.mark.parametrize("method", ["noise_injection", "resilient", "irs", "ovf"])
def test_a_bfloat16_model_is_trained_on_float32_data_and_stays_of_its_type(method):
    options = {"hardware": HW, "epochs": 15, "batch_size": 8, "lr": 0.02}
    one = ec.fit(net(torch.bfloat16), method, (X.numpy(), Y.numpy()), **options)
    other = ec.fit(net(torch.bfloat16), method, (X.bfloat16(), Y), **options)
    assert {p.dtype for p in one.parameters()} == {torch.bfloat16}
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert float(ec.evaluate(one, HW, (X, Y), chips=5).accuracy.mean()) > 0.8


@pytest.mark.parametrize("method", ["NoiseInjection", "IRS", "Resilient"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_loop_of_ones_own_hands_float32_to_a_model_of_another_type(method, dtype):
    losses = []
    for x in (X, X.to(dtype)):
        model = net(dtype)
        objective = getattr(ec.methods, method)().bind(model, HW, seed=1, sample=x[:4], steps=4)
        loss = objective(x[:16], Y[:16])
        loss.backward()
        assert all(p.grad is not None and p.grad.dtype == dtype for p in model.parameters())
        losses.append(float(loss.detach()))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "mitigation",
    [
        {"kind": "bn_recalibration", "images": 48},
        {"kind": "dora", "images": 10},
        {"kind": "drift_compensation", "images": 48},
        {"kind": "selective_write_verify", "fraction": 0.5, "images": 48},
    ],
    ids=lambda table: table["kind"],
)
def test_a_model_of_another_type_is_repaired_on_float32_data(mitigation, dtype):
    data = (X.numpy(), Y.numpy())
    draws = ec.evaluate(net(dtype).eval(), HW, data, chips=2, mitigation=mitigation, calibration=data)
    assert len(draws) == 2


@pytest.mark.parametrize("dtype", HALF)
def test_whatever_runs_a_model_runs_one_of_half_precision_on_float32(dtype):
    model, data = net(dtype).eval(), (X.numpy(), Y.numpy())
    assert ec.check(model, ARRAY, X).total_macs == 8 * 16 + 16 * 2
    assert ec.run(model, ec.program(model, HW, seed=0, chip=0), X).dtype == dtype
    assert len(ec.sensitivity(model, HW, data, chips=2).layers) == 2
    assert 0 <= ec.break_even(model, HW, data, drop="5", chips=4).clean <= 1
    assert ec.worst_case_search(model, HW, data, th=0.1, steps=2, restarts=1).clean <= 1
    assert ec.calibrate(model, ARRAY, data).array is not None
    for chip in ec.chips(model, HW, count=1):
        assert torch.equal(ec.run(model, {}, X), model(X.to(dtype))), chip


class Reader(nn.Module):
    """Token ids, weights of them and whether they count, of all of which it remembers the types."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(1000, 4), nn.Linear(4, 2)
        self.seen: list[dict[str, Tensor]] = []

    def forward(self, **inputs: Tensor) -> Tensor:
        self.seen.append(inputs)
        factor = inputs["weight"] * inputs["counts"]
        return self.head((self.words(inputs["ids"]) * factor[..., None]).mean(1))


def test_whole_numbers_and_truths_are_never_cast():
    """257 is no bfloat16: a token cast on the way in would be another token."""
    model = Reader().bfloat16().eval()
    ids = torch.tensor([[257, 999], [1, 2], [511, 3]])
    x = {"ids": ids, "weight": torch.rand(3, 2), "counts": ids > 1}
    ec.evaluate(model, HW, (x, torch.tensor([0, 1, 0])), chips=2)
    types = {"ids": torch.int64, "weight": torch.bfloat16, "counts": torch.bool}
    assert all({name: one.dtype for name, one in seen.items()} == types for seen in model.seen)
    assert torch.equal(model.seen[-1]["ids"], ids)


class OfEachImage(nn.Module):
    """What detectors take: a list of images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        return [self.head(image.mean()[None]) for image in images]


@pytest.mark.parametrize("dtype", [torch.float64, *HALF])
def test_images_in_a_list_are_cast_too(dtype):
    images = [torch.rand(1, n, n) for n in (2, 3, 4)]
    targets = [{"boxes": torch.zeros(0, 4)}] * 3
    model = OfEachImage().to(dtype)
    draws = ec.evaluate(
        model, HW, (images, targets), task="detection", score=lambda found, _: float(found[0].sum()), chips=2
    )
    assert draws.values.isfinite().all()


class Mixed(nn.Module):
    """A body in bfloat16 and a head in float32, as large models keep it."""

    def __init__(self, *, casts: bool = True) -> None:
        super().__init__()
        with seeded_global_generator(0, "mixed"):
            self.body, self.head = nn.Linear(8, 16).bfloat16(), nn.Linear(16, 2)
        self.casts = casts

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.body(x))
        return self.head(h.float() if self.casts else h)


def test_a_model_of_two_types_takes_inputs_of_its_first_layers_and_keeps_both():
    with pytest.raises(
        ModelError, match=r"a model of bfloat16 and float32 .* of its first layer: x\.to\(torch\.bfloat16\)"
    ):
        ec.evaluate(Mixed(), HW, (X, Y), chips=1)
    chip = ec.program(Mixed(), HW, seed=0, chip=0)
    assert {name: t.dtype for name, t in chip.items()} == {
        "body.weight": torch.bfloat16,
        "head.weight": torch.float32,
    }
    data = (X.bfloat16(), Y)
    model = ec.fit(Mixed(), "noise_injection", data, hardware=HW, epochs=15, batch_size=8, lr=0.02)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16, torch.float32}
    assert float(ec.evaluate(model, HW, data, chips=5).accuracy.mean()) > 0.8


def test_a_model_of_two_types_that_does_not_cast_between_them_is_said_so():
    with pytest.raises(ModelError, match="casts between its parts in its own forward"):
        ec.evaluate(Mixed(casts=False), HW, (X.bfloat16(), Y), chips=1)


def test_doubles_are_not_cut_to_a_model_in_float32_unasked():
    with pytest.raises(ModelError, match=r"takes inputs of its type: x\.to\(torch\.float32\)"):
        ec.evaluate(net(torch.float32), HW, (X.double(), Y), chips=1)


def test_float16_is_not_trained_by_an_optimizer_whose_epsilon_it_does_not_have():
    assert torch.tensor(1e-8).half() == 0
    options = {"hardware": HW, "epochs": 4, "batch_size": 8, "lr": 0.02}
    for optimizer in ("adam", "adamw"):
        with pytest.raises(ModelError, match=r"0\.weight: found a weight of float16, .*model\.float\(\)"):
            ec.fit(net(torch.float16), "irs", (X, Y), optimizer=optimizer, **options)
    model = ec.fit(net(torch.float16), "irs", (X, Y), optimizer="sgd", **options)
    assert all(p.dtype == torch.float16 and bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALF])
def test_inputs_of_the_models_own_type_are_handed_on_as_they_are(dtype):
    x = X.to(dtype)
    assert Runner(net(dtype)).typed(x) is x
