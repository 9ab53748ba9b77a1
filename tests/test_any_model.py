"""Models that nobody wrote for this package: each is checked, trains, with exits too, and is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import everychip as ec
from everychip.methods import IRS, Method, NoiseInjection
from everychip.network.macs import trace
from everychip.rng import rng_for, seeded_global_generator

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.02))
CLASSES, INPUTS = 3, 96


class DepthwiseBlock(nn.Module):
    """MobileNet v1's block: a 3×3 convolution of every channel by itself, then 1×1 across channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm2(self.pointwise(torch.relu(self.norm1(self.depthwise(x))))))


class SmallMobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            DepthwiseBlock(8, 16, 2), DepthwiseBlock(16, 16, 1), DepthwiseBlock(16, 24, 2)
        )
        self.classifier = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 12)
        self.recur = nn.LSTM(12, 16, num_layers=2, batch_first=True)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.recur(self.embed(x))[0][:, -1])


def gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.GPT2Config(
        n_embd=24, n_layer=2, n_head=2, vocab_size=20, n_positions=12, num_labels=CLASSES, pad_token_id=0,
        bos_token_id=1, eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return transformers.GPT2ForSequenceClassification(config)


def vit() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=12,
        patch_size=4, num_channels=1, num_labels=CLASSES,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


def images() -> tuple[Tensor, Tensor]:
    """Each class is brighter in a third of the image of its own."""
    y = torch.arange(INPUTS) % CLASSES
    x = torch.randn(INPUTS, 1, 12, 12, generator=rng_for(1))
    for label in range(CLASSES):
        x[y == label, :, 4 * label : 4 * label + 4] += 1.5
    return x, y


def words() -> tuple[Tensor, Tensor]:
    """Each class has words of its own."""
    y = torch.arange(INPUTS) % CLASSES
    return torch.randint(1, 7, (INPUTS, 12), generator=rng_for(2)) + 6 * y[:, None], y


@dataclass(frozen=True)
class Case:
    build: Callable[[], nn.Module]
    data: Callable[[], tuple[Tensor, Tensor]]
    digital: frozenset[str]
    """The matrices that are no products of an input with weights."""

    def model(self) -> nn.Module:
        with seeded_global_generator(0, "any model"):
            return self.build()


CASES = {
    "mobilenet": Case(SmallMobileNet, images, frozenset()),
    "lstm": Case(Lstm, words, frozenset({"embed.weight"})),
    "gpt2": Case(gpt2, words, frozenset({"transformer.wte.weight", "transformer.wpe.weight"})),
    "vit": Case(vit, images, frozenset({"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"})),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@cases
def test_the_crossbar_holds_every_matrix_that_multiplies_an_input(case: Case) -> None:
    model, (x, _) = case.model(), case.data()
    coverage = ec.check(model, HARDWARE, x[:2])
    assert {row.name for row in coverage.matrices if not row.crossbar} == case.digital
    counted = trace(model, x[:1])
    assert sum(row.macs or 0 for row in coverage.rows if row.crossbar) == sum(counted.by_parameter.values())
    assert coverage.macs == 1 - counted.between_activations / counted.total
    lines = str(coverage).splitlines()
    assert max(map(len, lines)) <= 80
    names = [line.split()[0] for line in lines[2 : 2 + len(coverage.matrices)]]
    assert len(set(names)) == len(names), "two matrices look alike"


def test_depthwise_convolutions_are_counted_as_such() -> None:
    rows = {row.name: row for row in ec.check(SmallMobileNet(), HARDWARE, images()[0]).rows}
    assert rows["blocks.0.depthwise.weight"].macs == 6 * 6 * 8 * 9
    assert rows["blocks.0.pointwise.weight"].macs == 6 * 6 * 8 * 16


@cases
@pytest.mark.parametrize("method", [NoiseInjection(), IRS(beta=0.01)], ids=["noise", "exits"])
def test_a_few_steps_of_training_lower_the_loss(case: Case, method: Method) -> None:
    model, (x, y) = case.model(), case.data()
    objective = method.bind(model, HARDWARE, seed=0, sample=x[:2])
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()
        losses.append(float(loss.detach()))
    assert max(losses[-3:]) < min(losses[:2])
    assert objective.detach() is model
    assert model.state_dict().keys() == case.model().state_dict().keys()


@cases
def test_its_chips_are_evaluated(case: Case) -> None:
    model, data = case.model(), case.data()
    options: dict[str, Any] = {"epochs": 30, "batch_size": 16, "lr": 4e-3, "validation": 0.2, "seed": 0}
    ec.fit(model, NoiseInjection(), data, hardware=HARDWARE, **options)
    draws = ec.evaluate(model, HARDWARE, data, chips=4, seed=0)
    assert float(draws.accuracy.mean()) > 0.6  # chance is a third
    assert len(set(draws.nll.tolist())) == 4, "the chips are one and the same"


def test_transposed_weights_of_gpt2_have_the_columns_of_their_outputs() -> None:
    columns = HARDWARE.columns(gpt2())
    assert columns["transformer.h.0.attn.c_attn.weight"].axis == 1
    assert columns["score.weight"].axis == 0


class Unreadable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"scores": [self.layer(x)]}


def test_an_output_that_holds_no_logits_says_so_in_one_line() -> None:
    with pytest.raises(ec.errors.ModelError, match="expected an entry called logits") as error:
        ec.evaluate(Unreadable(), HARDWARE, (torch.ones(2, 4), torch.tensor([0, 1])), chips=1)
    assert "\n" not in str(error.value)
