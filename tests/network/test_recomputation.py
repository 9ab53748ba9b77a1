"""Activation checkpointing: the gradient is that of the chip which gave the loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn

import everychip as ec
from everychip.array import Array
from everychip.rng import rng_for, seeded_global_generator

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.5), mapping=ec.mapping.Direct())
TILES = HW.replace(array=Array(rows=8, dac_bits=4, adc_bits=6, read_noise=0.2))
X, Y = torch.randn(24, 8, generator=rng_for(0, "x")), torch.arange(24) % 4
METHODS = (
    ec.methods.NoiseInjection(),
    ec.methods.NoiseInjection(noise_gradient="pathwise", chips=2),
    ec.methods.NoiseInjection(noise_gradient="clean"),
)


class Net(nn.Module):
    """Two nested checkpointed blocks between plain layers, with dropout inside."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.start, self.a, self.b, self.c = (nn.Linear(8, 8) for _ in range(4))
        self.end, self.reentrant = nn.Linear(8, 4), reentrant

    def inner(self, x: Tensor) -> Tensor:
        return torch.tanh(nn.functional.dropout(self.b(x), 0.3, self.training))

    def block(self, x: Tensor) -> Tensor:
        return torch.tanh(self.c(self._saved(self.inner, torch.tanh(self.a(x)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self._saved(self.block, self.start(x)))

    def _saved(self, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.reentrant is None:
            return part(x)
        return checkpointing.checkpoint(part, x, use_reentrant=self.reentrant)


def slopes(method: ec.methods.Method, hw: ec.Hardware, reentrant: bool | None) -> list[Tensor]:
    with seeded_global_generator(0, "net"):
        model = Net(reentrant)
    with seeded_global_generator(0, "dropout"):
        method.bind(model, hw, seed=0)(X, Y).backward()
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("hw", [HW, TILES], ids=["cells", "tiles"])
@pytest.mark.parametrize("method", METHODS, ids=["detached", "pathwise", "clean"])
def test_checkpointed_blocks_have_the_gradient_of_the_chip_that_gave_the_loss(
    method: ec.methods.Method, hw: ec.Hardware, reentrant: bool
) -> None:
    for found, expected in zip(slopes(method, hw, reentrant), slopes(method, hw, None), strict=True):
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_two_chips_in_one_backward_are_each_recomputed_as_themselves() -> None:
    def gradient(reentrant: bool | None) -> Tensor:
        with seeded_global_generator(0, "net"):
            model = Net(reentrant).eval()
        objective = ec.methods.NoiseInjection().bind(model, HW, seed=0)
        logits = [objective.noisy_logits(X, part=part) for part in ("one", "other")]
        (logits[0].square().sum() + logits[1].sum()).backward()
        return model.a.weight.grad

    assert torch.allclose(gradient(False), gradient(None), rtol=1e-4)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_of_hugging_face_gives_the_same_gradients(reentrant: bool) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=4,
    )

    def gradients(saved: bool) -> list[Tensor]:
        with seeded_global_generator(0, "vit"):
            model = transformers.ViTForImageClassification(config).train()
        if saved:
            how = {"use_reentrant": reentrant}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
        objective = ec.methods.NoiseInjection().bind(model, HW, seed=0)
        objective(torch.randn(8, 1, 8, 8, generator=rng_for(0)), torch.arange(8) % 4).backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_torch_is_as_it_was_after_a_forward_also_one_that_fails() -> None:
    before = checkpointing.CheckpointFunction, checkpointing._checkpoint_without_reentrant_generator
    objective = ec.methods.NoiseInjection().bind(Net(False), HW, seed=0)
    objective(X, Y).backward()
    with pytest.raises(RuntimeError):
        objective(X[:, :3], Y)
    after = checkpointing.CheckpointFunction, checkpointing._checkpoint_without_reentrant_generator
    assert before == after
