"""The training loop: what it learns, what it may see, and what it says when it fails."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from reference.small_trainings import HARDWARE, arrays, mlp, run
from reference.zoo import ViewNet
from torch import nn
from torch.nn.functional import cross_entropy

import everychip as ec
from everychip import Hardware, constraints, devices, fit, methods, rng_for
from everychip.data import Arrays, Augment, Data, Splits, split_holdout
from everychip.errors import ConfigError
from everychip.hardware import programming
from everychip.rng import seeded_global_generator
from everychip.training import loop as training

# --- learning ---------------------------------------------------------------------------------------------


def test_fit_learns_and_returns_the_same_model_with_the_same_keys():
    model, data = mlp(), arrays()
    keys = list(model.state_dict())
    fitted = fit(
        model, methods.NoiseInjection(), (data.x, data.y), hardware=HARDWARE, epochs=8, lr=0.02, batch_size=16
    )
    assert fitted is model
    assert list(model.state_dict()) == keys
    assert all(type(p) is nn.Parameter and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any(m.training for m in model.modules()), "ready to be used"
    assert float((model(data.x).argmax(1) == data.y).float().mean()) > 0.9


def test_digits_survive_on_chips_after_training_with_noise():
    splits = Data.parse("digits").load()
    hardware = Hardware(device=devices.preset("RRAM1", sigma=0.6))
    scores = {}
    for name, method in (
        ("plain", methods.Vanilla()),
        ("noisy", methods.NoiseInjection(ramp=0.5, constraint=constraints.clip(2.0))),
    ):
        model = ec.models.Model.parse("mlp").build(splits.input_shape, splits.classes, seed=0)
        fit(model, method, splits.train, hardware=hardware, epochs=12, seed=0, lr=5e-3)
        scores[name] = float(ec.evaluate(model, hardware, splits.test, chips=10).accuracy.mean())
    assert scores["noisy"] > scores["plain"] + 0.08
    assert scores["noisy"] > 0.8


def literal_loop(model, data, *, epochs, batch, lr, seed, kind):
    """Vanilla training as anybody would write it, on the addresses of randomness that are documented."""
    kept, _ = split_holdout(data, 0.1, seed=seed)
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]
    batches = len(kept) // batch
    step = 0
    for epoch in range(epochs):
        order = torch.randperm(len(kept), generator=rng_for(seed, "order", epoch))
        for n in range(batches):
            rows = order[n * batch : (n + 1) * batch]
            model.zero_grad()
            cross_entropy(model(kept.x[rows]), kept.y[rows]).backward()
            rate = lr * 0.5 * (1 + math.cos(math.pi * step / (batches * epochs)))
            step += 1
            with torch.no_grad():
                for p, (m, v) in zip(model.parameters(), moments, strict=True):
                    if kind == "sgd":
                        m.copy_(p.grad if step == 1 else 0.9 * m + p.grad)
                        p.sub_(rate * m)
                        continue
                    m.copy_(0.9 * m + 0.1 * p.grad)
                    v.copy_(0.999 * v + 0.001 * p.grad.square())
                    p.sub_(rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8))


CONVOLUTIONAL = {
    "image": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8),
            nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ConvTranspose2d(6, 4, 2), nn.Flatten(), nn.Linear(4 * 49, 3),
        ),
        (3, 8, 8),
    ),
    "one channel": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)),
        (1, 8, 8),
    ),
    "volume": (
        lambda: nn.Sequential(nn.Conv3d(2, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 27, 3)),
        (2, 4, 4, 4),
    ),
    "signal": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)), (2, 8)),
    "vector": (mlp, (6,)),
    "view": (ViewNet, (3, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["adam", "sgd"])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_training_is_the_textbooks_loop_in_every_memory_layout(name, kind, monkeypatch):
    """The fused kernels on channels-last weights against Adam and SGD written out on contiguous ones."""
    build, shape = CONVOLUTIONAL[name]
    model, data = build().double(), arrays(shape=shape, dtype=torch.float64)
    by_hand = copy.deepcopy(model)
    # Keep the last epoch: the literal loop selects none.
    monkeypatch.setattr(
        "everychip.training.loop._Loop._validate", lambda loop: {"accuracy": loop.epoch + 1, "nll": 0.0}
    )
    run(model, data, methods.Vanilla(), epochs=2, batch_size=27, lr=0.01, optimizer=kind, seed=5)
    literal_loop(by_hand, data, epochs=2, batch=27, lr=0.01, seed=5, kind=kind)
    for (key, found), expected in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(
            found, expected, rtol=1e-7, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}"
        )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_model_keeps_its_own_memory_layout(layout):
    model = CONVOLUTIONAL["image"][0]().to(memory_format=layout)
    strides = [p.stride() for p in model.parameters()]
    run(model, arrays(shape=(3, 8, 8)), epochs=1)
    assert [p.stride() for p in model.parameters()] == strides


class _Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.out = (
            nn.Embedding(20, 8),
            nn.GRU(8, 8, batch_first=True),
            nn.Linear(8, 3),
        )

    def forward(self, tokens):
        return self.out(self.rnn(self.embedding(tokens))[0][:, -1])


@pytest.mark.parametrize("gradient", ["detached", "pathwise", "clean"])
@pytest.mark.parametrize("name", [*CONVOLUTIONAL, "tokens"])
def test_every_shape_of_data_trains_and_is_measured(name, gradient):
    if name == "tokens":
        model, data = _Tokens(), Arrays(torch.randint(0, 20, (60, 7)), torch.arange(60) % 3)
    else:
        model, data = CONVOLUTIONAL[name][0](), arrays(n=60, shape=CONVOLUTIONAL[name][1])
    before = copy.deepcopy(model.state_dict())
    fitted = run(model, data, methods.NoiseInjection(noise_gradient=gradient), epochs=1)
    assert fitted.status != "diverged"
    assert any(not torch.equal(value, model.state_dict()[key]) for key, value in before.items())
    assert len(ec.evaluate(model, HARDWARE, (data.x, data.y), chips=2)) == 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_models_of_other_precisions_train(dtype):
    model, data = mlp().to(dtype), arrays(dtype=dtype)
    fitted = run(model, data, epochs=4, lr=0.05, optimizer="sgd")
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]


def test_bfloat16_products_train_a_float32_model():
    model, data, seen = CONVOLUTIONAL["image"][0](), arrays(shape=(3, 8, 8)), set()
    last = [part for part in model.modules() if isinstance(part, nn.Linear)][-1]
    last.register_forward_hook(lambda layer, inputs, output: seen.add((layer.training, output.dtype)))
    fitted = run(model, data, epochs=4, precision="bfloat16")
    assert (True, torch.bfloat16) in seen
    assert (True, torch.float32) not in seen
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert fitted.status == "above_chance"
    assert fitted.history[-1]["accuracy"] > 0.8


def test_images_are_augmented_by_a_generator_of_their_own():
    data, histories = arrays(shape=(3, 8, 8)), []
    for augment in (None, {"kind": "crop_flip", "padding": 1}, {"kind": "crop_flip", "padding": 1}):
        with ec.rng.seeded_global_generator(0):
            model = CONVOLUTIONAL["image"][0]()
        histories.append(run(model, data, augment=augment and Augment.parse(augment)).history)
    assert histories[1] == histories[2] != histories[0]


@pytest.mark.parametrize("name", ["tokens", "one channel"])
def test_the_global_generator_is_neither_read_nor_moved(name):
    if name == "tokens":
        build, data = _Tokens, Arrays(torch.randint(0, 20, (60, 7)), torch.arange(60) % 3)
    else:
        data = arrays(shape=(1, 8, 8))

        def build():
            return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 3))

    model = build()
    twin, before = copy.deepcopy(model), torch.get_rng_state()
    first = run(model, data, methods.IRS(hidden=8)).history
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert run(twin, data, methods.IRS(hidden=8)).history == first


def test_frozen_parameters_stay_and_the_others_train():
    model, data = mlp(), arrays()
    model[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    run(model, data, methods.NoiseInjection(constraint=constraints.clip(1.5)))
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model[2].weight, before["2.weight"])
    assert not model[0].weight.requires_grad


# --- equal compute ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [2.0, 2.5])
@pytest.mark.parametrize("method", [methods.NoiseInjection(), methods.SAM(), methods.OVF()])
def test_with_passes_every_method_costs_the_same(method, passes):
    data = arrays(n=200)
    fitted = run(mlp(), data, method, passes=passes, batch_size=10)
    kept = len(split_holdout(data, 0.1, seed=0)[0])
    assert passes * kept - 10 * method.forwards < fitted.forwards <= passes * kept


def test_a_last_epoch_that_is_cut_short_still_ends_the_schedules_and_is_validated():
    longer, shorter = (
        run(mlp(), arrays(n=200), methods.NoiseInjection(ramp=1.0), passes=passes, batch_size=10)
        for passes in (2.0, 1.5)
    )
    assert len(longer.history) == len(shorter.history) == 2
    assert longer.forwards == 360 and shorter.forwards == 270


# --- the learning rate ------------------------------------------------------------------------------------

RATES = {
    "constant": [0.1] * 10,
    "step": [0.1] * 8 + [0.01] * 2,
    "cosine": [0.05 * (1 + math.cos(math.pi * step / 10)) for step in range(10)],
}


@pytest.mark.parametrize("schedule", RATES)
def test_the_learning_rate_of_every_step_is_the_schedules(schedule, monkeypatch):
    seen, step = [], training._Loop._step

    def recorded(loop, chosen, batch):
        loss = step(loop, chosen, batch)
        seen.append(loop.optimizer.param_groups[0]["lr"])
        return loss

    monkeypatch.setattr(training._Loop, "_step", recorded)
    run(mlp(), arrays(n=56), methods.Vanilla(), epochs=2, batch_size=10, lr=0.1, schedule=schedule)
    assert seen == pytest.approx(RATES[schedule])


# --- averaging --------------------------------------------------------------------------------------------


def test_the_average_is_the_exponential_one_of_every_step_written_out(monkeypatch):
    seen, step = [], training._Loop._step

    def recorded(loop, chosen, batch):
        loss = step(loop, chosen, batch)
        seen.append({name: value.detach().clone() for name, value in loop.model.state_dict().items()})
        return loss

    monkeypatch.setattr(training._Loop, "_step", recorded)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    fitted = run(model, arrays(), methods.NoiseInjection(), epochs=1, average=0.8)
    expected = seen[0]
    for state in seen[1:]:
        expected = {name: 0.8 * expected[name] + 0.2 * state[name] for name in state}
    assert len(seen) > 5
    for name, value in fitted.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name])


# --- choosing the epoch -----------------------------------------------------------------------------------


def test_the_weights_are_those_of_the_best_validated_epoch():
    model, data = mlp(), arrays(n=200)
    data = Arrays(data.x + 0.9 * torch.randn(data.x.shape, generator=rng_for(1)), data.y)
    fitted = run(model, data, epochs=6, lr=0.2, schedule="constant", seed=3)
    scores = [(row["accuracy"], -row["nll"]) for row in fitted.history]
    assert fitted.best_epoch == scores.index(max(scores))
    _, holdout = split_holdout(data, 0.1, seed=3)
    again = ec.evaluate(model, HARDWARE, holdout, chips=4, seed=3, purpose="validate")
    assert float(again.accuracy.mean()) == fitted.history[fitted.best_epoch]["accuracy"]
    assert float(again.nll.mean()) == pytest.approx(fitted.history[fitted.best_epoch]["nll"], rel=1e-6)


def test_the_last_epoch_is_kept_where_that_is_asked():
    data = arrays(n=200)
    data = Arrays(data.x + 0.9 * torch.randn(data.x.shape, generator=rng_for(1)), data.y)
    options = {"epochs": 6, "lr": 0.2, "schedule": "constant", "seed": 3}
    with seeded_global_generator(1):
        model = mlp()
    last = run(copy.deepcopy(model), data, keep="last", **options)
    best = run(model, data, **options)
    assert best.best_epoch < last.best_epoch == 5
    assert last.history == best.history
    _, holdout = split_holdout(data, 0.1, seed=3)
    again = ec.evaluate(last.model, HARDWARE, holdout, chips=4, seed=3, purpose="validate")
    assert float(again.accuracy.mean()) == last.history[5]["accuracy"]


@pytest.mark.parametrize("method", [methods.Vanilla(), methods.NoiseInjection(), methods.OVF()])
def test_the_holdout_is_never_trained_on_and_chips_are_never_those_of_an_evaluation(method, monkeypatch):
    addresses = set()
    real = programming.rng_for

    def spy(seed, *path, **options):
        addresses.add(path[1:] if path[0] == "die" else path)
        return real(seed, *path, **options)

    monkeypatch.setattr("everychip.hardware.programming.rng_for", spy)
    data = Arrays(torch.randn(120, 6), torch.arange(120) % 3)
    names = {tuple(row.tolist()): n for n, row in enumerate(data.x)}
    model, seen = mlp(), {True: set(), False: set()}
    model.register_forward_pre_hook(
        lambda m, args: seen[m.training].update(names[tuple(r.tolist())] for r in args[0])
    )
    run(model, data, method, epochs=4, seed=2)
    holdout = {names[tuple(row.tolist())] for row in split_holdout(data, 0.1, seed=2)[1].x}
    assert len(holdout) == 12
    assert seen[True].isdisjoint(holdout)
    assert seen[True] == set(range(120)) - holdout
    assert seen[False] - {0, 1} <= holdout, "beside the trial run on two inputs"
    purposes = {path[0] for path in addresses}
    assert purposes == (set() if not method.noisy else {"train", "validate"})


def test_test_data_is_never_looked_at():
    class _Sealed(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if opened:
                raise AssertionError(f"{func} looked at the test split")
            return super().__torch_function__(func, types, args, kwargs or {})

    opened, inner = [], arrays()
    sealed = Arrays(inner.x.clone().as_subclass(_Sealed), inner.y)

    class _Trap(Data):
        def load(self):
            splits = Splits(inner, sealed, classes=3, name="trap")
            opened.append(True)
            return splits

    try:
        fit(mlp(), methods.NoiseInjection(), _Trap(), hardware=HARDWARE, epochs=2, lr=0.02, batch_size=16)
        assert opened
    finally:
        Data.registry.pop(_Trap.kind)


def test_the_split_is_a_partition_that_depends_on_the_seed_alone():
    data = Arrays(torch.arange(50.0)[:, None], torch.zeros(50, dtype=torch.long))
    kept, held = split_holdout(data, 0.2, seed=0)
    assert (len(kept), len(held)) == (40, 10)
    assert sorted([*kept.x.flatten().tolist(), *held.x.flatten().tolist()]) == list(range(50))
    assert torch.equal(split_holdout(data, 0.2, seed=0)[1].x, held.x)
    assert not torch.equal(split_holdout(data, 0.2, seed=1)[1].x, held.x)


@pytest.mark.parametrize("n", [3, 5, 17])
def test_few_examples_are_enough_to_run(n):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    fitted = run(model, arrays(n=n), epochs=2, batch_size=128)
    assert fitted.forwards == 2 * (n - max(1, round(0.1 * n)))


def test_too_few_examples_are_refused():
    with pytest.raises(ConfigError, match="at least 3"):
        run(mlp(), arrays(n=2))
