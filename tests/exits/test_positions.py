from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from everychip import exits
from everychip.errors import ModelError
from everychip.models import VGG8, ResNet18


def sizes(made: exits.Exits) -> list[tuple[int, int, int]]:
    """Per head: inputs of the first layer, of the second, classes."""
    return [
        (head.hidden.in_features, head.classes.in_features, head.classes.out_features)
        for head in made.heads.values()
    ]


def run(made: exits.Exits, model: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
    with made.tap(model) as taps:
        model(x)
    return taps, made.logits(taps)


@pytest.mark.parametrize(
    ("model", "positions", "inputs"),
    [
        (VGG8(width=64), ("block1", "block2", "block4"), [64 * 36, 128 * 16, 256 * 9]),
        (
            ResNet18(width=64),
            ("stem", "layer1", "layer2", "layer3"),
            [64 * 36, 64 * 36, 128 * 16, 256 * 9],
        ),
    ],
)
def test_the_papers_networks_get_the_papers_heads(
    model: VGG8 | ResNet18, positions: tuple[str, ...], inputs: list[int]
) -> None:
    made = exits.attach(model.build((3, 32, 32), 10), torch.zeros(1, 3, 32, 32), where="paper")
    assert made.positions == positions
    assert sizes(made) == [(features, 512, 10) for features in inputs]


def test_a_pool_is_never_larger_than_the_feature_map() -> None:
    model = VGG8(width=4).build((1, 8, 8), 10)
    made = exits.attach(model, torch.zeros(1, 1, 8, 8), where="paper")
    assert [size[0] for size in sizes(made)] == [4 * 36, 8 * 16, 16 * 4]


def test_auto_takes_whole_stages_of_a_resnet_at_a_quarter_a_half_and_three_quarters() -> None:
    model = ResNet18(width=8).build((3, 32, 32), 10)
    made = exits.attach(model, torch.zeros(2, 3, 32, 32))
    assert made.positions == ("layer1", "layer2", "layer3")
    assert sizes(made)[0] == (8 * 16, 512, 10)


def equal_layers(n: int, width: int = 6) -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(n) for layer in (nn.Linear(width, width), nn.Tanh())))


@pytest.mark.parametrize(
    ("layers", "count", "positions"),
    [
        (8, 3, ("3", "7", "11")),  # the Tanh after the 2nd, 4th and 6th of eight equal layers
        (8, 1, ("7",)),
        (4, 3, ("1", "3", "5")),
        (3, 5, ("1", "3")),  # no more than there are, and never the end
    ],
)
def test_auto_divides_equal_layers_evenly(layers: int, count: int, positions: tuple[str, ...]) -> None:
    made = exits.attach(equal_layers(layers), torch.zeros(2, 6), count=count)
    assert made.positions == positions


def test_auto_looks_into_large_containers_only() -> None:
    # Four equal halves-of-halves: with one exit, a container of a quarter stays closed.
    quarters = nn.Sequential(*(equal_layers(2) for _ in range(4)))
    assert exits.attach(quarters, torch.zeros(2, 6), count=1).positions == ("1",)
    wrapped = nn.Sequential(quarters)
    assert exits.attach(wrapped, torch.zeros(2, 6), count=1).positions == ("0.1",)


def test_nothing_between_the_first_and_the_last_product_is_refused_in_words() -> None:
    with pytest.raises(ModelError, match="no inner submodule"):
        exits.attach(nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), torch.zeros(2, 6))


class Text(nn.Module):
    """A sequence model; T equals the batch in the tests, so that only counting tells the axes apart."""

    def __init__(self, cell: type[nn.RNNBase], *, batch_first: bool) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(9, 6), nn.Parameter(torch.zeros(1, 2, 6))
        self.norm = nn.LayerNorm(6)
        self.first, self.second = (cell(6, 6, batch_first=batch_first) for _ in range(2))
        self.out, self.batch_first = nn.Linear(6, 4), batch_first

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.norm(self.position)
        h = h if self.batch_first else h.transpose(0, 1)
        h, _ = self.second(self.first(h)[0])
        return self.out(h[:, -1] if self.batch_first else h[-1])


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrent_layers_are_read_by_their_output_averaged_over_time(
    cell: type[nn.RNNBase], batch_first: bool
) -> None:
    model = Text(cell, batch_first=batch_first).eval()
    tokens = torch.tensor([[1, 2], [3, 4]])
    made = exits.attach(model, tokens)
    assert made.positions == ("first", "second")
    taps, logits = run(made, model, tokens)
    mean = taps["first"].mean(dim=1 if batch_first else 0)
    head = made.heads["exit1_first"]
    torch.testing.assert_close(logits[0], head.classes(torch.relu(head.hidden(mean))))


def test_what_has_no_entry_per_input_is_no_site() -> None:
    tokens = torch.tensor([[1, 2], [3, 4]])
    with pytest.raises(ModelError, match="no exit can read"):
        exits.attach(Text(nn.GRU, batch_first=True), tokens, where=["norm"])  # position table: [1, T, D]


class Patches(nn.Module):
    """A small vision transformer: convolution, patches as a sequence, encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 8, 4, stride=4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder, self.out = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.encoder(self.embed(x).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("train", [True, False])
def test_a_vision_transformer_is_read_as_map_and_as_sequence(train: bool) -> None:
    model, x = Patches().train(train), torch.randn(3, 1, 16, 16)
    made = exits.attach(model, x, where=["encoder.layers.1", "embed", "encoder.layers.0.norm1"])
    assert made.positions == ("embed", "encoder.layers.0.norm1", "encoder.layers.1")  # as computed
    assert [size[0] for size in sizes(made)] == [8 * 16, 8, 8]
    with torch.no_grad():  # in eval mode the encoder would take its fused path
        taps, logits = run(made, model, x)
    assert [z.shape for z in logits] == [(3, 5)] * 3
    head = made.heads["exit3_encoder_layers_1"]
    expected = head.classes(torch.relu(head.hidden(taps["encoder.layers.1"].mean(1))))
    torch.testing.assert_close(logits[2], expected)


def test_signals_are_pooled_over_time_and_volumes_over_space() -> None:
    signal = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Flatten(), nn.Linear(30, 4))
    made = exits.attach(signal, torch.zeros(2, 2, 12), where=["2"])
    assert sizes(made) == [(3 * 4, 512, 4)]
    volume = nn.Sequential(nn.Conv3d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 64, 4))
    made = exits.attach(volume, torch.zeros(2, 1, 6, 6, 6), pool=2)
    assert made.positions == ("1",)
    assert sizes(made) == [(3 * 8, 512, 4)]
    assert run(made, volume, torch.zeros(2, 1, 6, 6, 6))[1][0].shape == (2, 4)


class Shared(nn.Module):
    """One layer called three times, then another."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return self.out(self.last(x))


def test_a_module_called_thrice_is_read_at_its_last_call_and_never_chosen() -> None:
    model, x = Shared(), torch.randn(2, 4)
    assert exits.attach(model, x).positions == ("last",)
    taps, _ = run(exits.attach(model, x, where=["layer"]), model, x)
    h = torch.tanh(model.layer(torch.tanh(model.layer(x))))
    torch.testing.assert_close(taps["layer"], model.layer(h))


@dataclass
class Output:
    """As Hugging Face models answer."""

    loss: Tensor | None
    logits: Tensor


class Hub(nn.Module):
    """Blocks that return tuples and an output that is an object."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values, self.out = nn.Linear(4, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Output:
        return Output(None, self.out(self.values(self.keys(x))[0].mean(1)))


def test_names_that_a_dictionary_has_too_and_outputs_with_logits_are_handled() -> None:
    model = Hub()
    made = exits.attach(model, torch.zeros(2, 5, 4), where=["keys", "values"])
    assert sizes(made) == [(4, 512, 3)] * 2
    assert list(made.heads) == ["exit1_keys", "exit2_values"]


def test_classes_are_asked_for_where_the_output_does_not_tell() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3))
    with pytest.raises(ModelError, match="pass classes="):
        exits.attach(model, torch.zeros(2, 1, 8, 8))
    assert sizes(exits.attach(model, torch.zeros(2, 1, 8, 8), classes=7))[0][2] == 7


def test_heads_have_the_type_of_the_features() -> None:
    model = equal_layers(3).bfloat16()
    made = exits.attach(model, torch.zeros(2, 6, dtype=torch.bfloat16))
    assert {p.dtype for p in made.parameters()} == {torch.bfloat16}
