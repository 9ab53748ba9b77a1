"""AdamW, warm-up, rates by name, a batch in parts, activations computed again: each against plain PyTorch."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import everychip as ec
from everychip.data import as_arrays, split_holdout
from everychip.errors import ConfigError
from everychip.network.recomputing import recomputing
from everychip.rng import rng_for, seeded_global_generator
from everychip.training.config import Training
from everychip.training.loop import train
from everychip.training.optimizers import optimizer_of, share_of_rate
from everychip.training.step import backward, set_rates

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3), mapping=ec.mapping.Direct())
X, Y = torch.randn(32, 8, generator=rng_for(0, "x")), torch.arange(32) % 4


def network(*, norm: bool = False) -> nn.Module:
    with seeded_global_generator(0, "net"):
        middle = [nn.BatchNorm1d(16)] if norm else []
        block = nn.Sequential(nn.Linear(16, 16), *middle, nn.Tanh(), nn.Dropout(0.2))
        return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), block, nn.Linear(16, 4))


def gradients(model: nn.Module, training: Training, *, method: str = "noise_injection") -> list[Tensor]:
    objective = ec.methods.Method.parse(method).bind(model, HW, seed=0, sample=X[:2])
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    with seeded_global_generator(0, "dropout"), recomputing(model, training.recompute or ()):
        objective.train()
        backward(objective, optimizer, X, Y, training)
    return [p.grad for p in model.parameters()]


def test_what_is_new_has_no_key_in_a_recipe_that_does_not_use_it() -> None:
    assert not {"warmup", "rates", "parts", "recompute", "redraw"} & set(Training().table())


def test_adamw_is_pytorchs() -> None:
    ours, theirs = network(), network()
    made = optimizer_of(ours, kind="adamw", lr=0.01, momentum=0.9, weight_decay=0.1)
    plain = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    for model, optimizer in ((ours, made), (theirs, plain)):
        for _ in range(3):
            with seeded_global_generator(0, "dropout"):
                loss = nn.functional.cross_entropy(model(X), Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_rate_rises_evenly_and_then_is_that_of_the_schedule() -> None:
    shares = [share_of_rate("cosine", step, 100, warmup=0.1) for step in range(100)]
    plain = [0.5 * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
    assert shares[10:] == plain[10:]
    assert all(a < b for a, b in pairwise(shares[:10]))
    assert shares[0] == pytest.approx(plain[0] / 10)


def test_each_parameter_has_the_rate_of_the_first_pattern_that_names_it() -> None:
    model = network()
    rates = {"3.bias": 0.1, "3": 10.0, "*.weight": 2.0}
    training = Training(lr=0.01, rates=rates, schedule="constant")
    optimizer = optimizer_of(model, kind="sgd", lr=0.01, momentum=0, weight_decay=0, rates=rates)
    set_rates(optimizer, training, 0, 10)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: rate[id(p)] for name, p in model.named_parameters()}
    expected = {"3.bias": 0.001, "3.weight": 0.1, "0.weight": 0.02, "0.bias": 0.01, "2.0.weight": 0.02}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    with pytest.raises(ConfigError, match=r"training\.rates\.tail: found no parameter of that name"):
        optimizer_of(model, kind="adam", lr=0.01, momentum=0, weight_decay=0, rates={"tail": 2.0})


@pytest.mark.parametrize("method", ["noise_injection", "irs", "ovf"])
@pytest.mark.parametrize("parts", [2, 5, 32])
def test_the_gradient_of_a_batch_in_parts_is_that_of_the_whole(parts: int, method: str) -> None:
    model = network().eval()  # dropout of parts would differ
    model.train = lambda mode=True: model  # type: ignore[method-assign]
    whole = gradients(model, Training(), method=method)
    apart = gradients(model, Training(parts=parts), method=method)
    for a, b in zip(whole, apart, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("patterns", [("2",), ("*",), ("2", "2.*")])
def test_gradients_and_statistics_are_the_same_where_activations_are_computed_again(
    patterns: tuple[str, ...], norm: bool
) -> None:
    kept, again = network(norm=norm), network(norm=norm)
    before = gradients(kept, Training())
    after = gradients(again, Training(recompute=patterns))
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(kept.buffers(), again.buffers(), strict=True):
        assert torch.equal(a, b)
    assert "forward" not in vars(again[2])


def test_less_is_kept_for_the_backward() -> None:
    def kept(training: Training) -> int:
        held: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        model = nn.Sequential(
            *(nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)) for _ in range(8))
        )
        objective = ec.methods.NoiseInjection().bind(model, HW, seed=0)
        x = torch.randn(512, 64, generator=rng_for(0, "memory"))
        with (
            recomputing(model, training.recompute or ()),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        ):
            loss = objective(x, torch.arange(512) % 64)
        assert loss.requires_grad
        return sum(held.values())

    assert kept(Training(recompute=("*",))) < 0.6 * kept(Training())


def test_a_training_with_adamw_warm_up_and_two_rates_is_pytorchs_own_loop() -> None:
    """Parameter groups, LambdaLR and AdamW by hand, on the same batches: `train` hands all of it on."""
    ours, theirs, epochs, size = network().eval(), network().eval(), 3, 8
    data = as_arrays((X, Y), split="train")
    how = {"optimizer": "adamw", "weight_decay": 0.1, "lr": 0.01, "warmup": 0.3, "rates": {"3": 4.0}}
    training = Training(epochs=epochs, batch_size=size, keep="last", validation=0.25, **how)
    for model in (ours, theirs):
        model.train = lambda mode=True, model=model: model  # type: ignore[method-assign]  # no dropout
    train(ours, ec.methods.Vanilla(), data, hardware=HW, training=training, seed=5)

    part, _ = split_holdout(data, 0.25, seed=5)
    batches = len(part) // size
    steps, rising = epochs * batches, math.ceil(0.3 * epochs * batches)
    groups = [{"params": theirs[3].parameters(), "lr": 0.04}]
    groups += [{"params": [*theirs[0].parameters(), *theirs[2].parameters()], "lr": 0.01}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / rising) * (1 + math.cos(math.pi * step / steps)) / 2,
    )
    for epoch in range(epochs):
        order = torch.randperm(len(part), generator=rng_for(5, "order", epoch))
        for rows in order.split(size)[:batches]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(theirs(part.x[rows]), part.y[rows]).backward()
            optimizer.step()
            schedule.step()
    for a, b, start in zip(ours.parameters(), theirs.parameters(), network().parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(a, start, atol=1e-3)


@pytest.mark.parametrize("recompute", [None, ("2",)])
@pytest.mark.parametrize("parts", [None, 2])
def test_bfloat16_multiplies_in_bfloat16_also_in_parts_and_where_activations_are_computed_again(
    parts: int | None, recompute: tuple[str, ...] | None
) -> None:
    model, seen = network().eval(), []
    model.train = lambda mode=True: model  # type: ignore[method-assign]  # dropout of parts would differ
    for layer in (model[0], model[2][0], model[3]):
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    found = gradients(model, Training(precision="bfloat16", parts=parts, recompute=recompute))
    assert set(seen) == {torch.bfloat16}
    exact = gradients(model, Training())
    assert torch.float32 in seen
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == torch.float32
        assert not torch.equal(a, b)
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.02 * float(b.abs().max()) + 1e-3)


def test_a_module_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"training\.recompute: found no module named 'blocks'"):
        ec.fit(
            network(), "noise_injection", (X, Y), hardware=HW, epochs=1, batch_size=8, recompute=("blocks",)
        )


def test_a_training_with_all_of_it_learns_and_goes_on_to_the_bit(tmp_path) -> None:
    x = torch.randn(256, 8, generator=rng_for(1, "x"))
    data = (x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long())
    how = {"optimizer": "adamw", "weight_decay": 0.01, "warmup": 0.2, "rates": {"3": 2.0}, "parts": 2}
    training = Training(epochs=4, batch_size=16, lr=0.01, recompute=("2",), **how)
    examples = as_arrays(data, split="train")
    whole = train(network(norm=True), ec.methods.NoiseInjection(), examples, hardware=HW, training=training)

    class StopError(Exception):
        pass

    def stop(event) -> None:
        if event.values["epoch"] == 3:
            raise StopError

    asked = {"hardware": HW, "training": training, "checkpoint": tmp_path / "c.safetensors"}
    with pytest.raises(StopError):
        train(network(norm=True), ec.methods.NoiseInjection(), examples, **asked, progress=stop)
    model = network(norm=True)
    assert "forward" not in vars(model[2])
    resumed = train(model, ec.methods.NoiseInjection(), examples, **asked)
    assert resumed.history == whole.history
    assert whole.history[-1]["accuracy"] > 0.5, "chance is 0.25"
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
