from __future__ import annotations

import json
import re

import pytest
import torch
from torch import Tensor, nn

from everychip.devices import Gaussian
from everychip.errors import DataError, ModelError
from everychip.hardware.coverage import Coverage, check
from everychip.hardware.hardware import Hardware

HARDWARE = Hardware(device=Gaussian(sigma=0.1))


class Reader(nn.Module):
    """An embedding, a position table, attention, a recurrent layer and a classifier; one layer is idle."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.position = nn.Parameter(torch.zeros(1, 5, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.recur = nn.GRU(8, 6, batch_first=True)
        self.idle, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(self.embed(x) + self.position)
        return self.out(self.recur(h)[0][:, -1])


TOKENS = torch.zeros(3, 5, dtype=torch.long)
ENCODER = 5 * 8 * (24 + 8 + 16 + 16)
SCORES = 2 * 5 * 5 * 8
RECURRENT = 5 * 18 * (8 + 6)


def test_shares_of_macs_per_input_follow_the_closed_forms() -> None:
    coverage = check(Reader(), HARDWARE, TOKENS)
    everything = ENCODER + SCORES + RECURRENT + 6 * 3
    assert coverage.total_macs == everything
    assert coverage.between_activations == SCORES
    assert coverage.macs == pytest.approx((everything - SCORES) / everything)
    digital = check(Reader(), HARDWARE.replace(digital=("encoder.self_attn",)), TOKENS)
    assert digital.macs == pytest.approx((everything - SCORES - 5 * 8 * 32) / everything)


def test_the_share_of_parameters_is_that_of_the_matrices() -> None:
    model = Reader()
    matrices = ("encoder", "recur", "idle", "out")
    held = sum(p.numel() for n, p in model.named_parameters() if n.split(".")[0] in matrices and p.ndim > 1)
    assert check(model, HARDWARE).parameters == pytest.approx(
        held / sum(p.numel() for p in model.parameters())
    )


def test_every_parameter_has_a_row_and_every_digital_one_a_reason() -> None:
    model = Reader()
    rows = {row.name: row for row in check(model, HARDWARE.replace(digital=("out",)), TOKENS).rows}
    assert {name: row.shape for name, row in rows.items()} == {
        n: p.shape for n, p in model.named_parameters()
    }
    assert all(row.reason for row in rows.values())
    assert "position" in rows["position"].reason
    assert "normalisation" in rows["encoder.norm1.weight"].reason
    assert "bias" in rows["encoder.linear1.bias"].reason
    assert (rows["embed.weight"].crossbar, rows["embed.weight"].remedy[:19]) == (False, "hardware.embeddings")
    assert (rows["out.weight"].crossbar, rows["out.weight"].remedy) == (False, "hardware.digital names it")
    assert rows["encoder.self_attn.out_proj.weight"].layer == "Linear"
    assert rows["recur.weight_ih_l0"].layer == "GRU"


def test_a_matrix_that_the_forward_never_uses_is_told() -> None:
    coverage = check(Reader(), HARDWARE, TOKENS)
    idle = next(row for row in coverage.rows if row.name == "idle.weight")
    assert idle.macs == 0
    assert "never multiplies" in idle.reason
    assert "never multiplies" in str(coverage)
    assert "never multiplies" not in str(check(Reader(), HARDWARE))


def test_embeddings_by_choice_are_on_the_crossbar_without_macs() -> None:
    coverage = check(Reader(), HARDWARE.replace(embeddings=True), TOKENS)
    row = next(row for row in coverage.rows if row.name == "embed.weight")
    assert (row.crossbar, row.macs, row.reason) == (True, 0, "embedding")


def test_without_a_sample_the_macs_are_unknown_rather_than_zero() -> None:
    coverage = check(Reader(), HARDWARE)
    assert coverage.macs is None
    assert coverage.total_macs is None
    assert {row.macs for row in coverage.rows} == {None}
    assert "MACs per input" not in str(coverage)


def test_the_text_fits_eighty_columns_and_names_the_totals() -> None:
    model = nn.Sequential()
    model.add_module("a_very_long_name_of_a_block_that_nobody_would_type", Reader())
    text = str(check(model, HARDWARE.replace(digital=("*.out",)), TOKENS))
    assert max(len(line) for line in text.splitlines()) <= 80
    words = " ".join(text.split())
    assert "multiply two activations, as attention scores do" in words
    weights = sum(p.numel() for p in model.parameters())
    assert f"of {weights / 1000:.2f} k weights" in words


def test_the_text_tells_the_share_of_every_matrix() -> None:
    model = Reader()
    lines = {line.split()[0]: line.split() for line in str(check(model, HARDWARE, TOKENS)).splitlines()}
    weights = 100 * 8 * 16 / sum(p.numel() for p in model.parameters())
    macs = 100 * 5 * 8 * 16 / (ENCODER + SCORES + RECURRENT + 6 * 3)
    assert lines["encoder.linear1.weight"][3:] == [f"{weights:.1f}", "%", f"{macs:.1f}", "%", "yes"]
    assert lines["embed.weight"][5:] == ["–", "no", "(2)"]
    lopsided = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 4000))
    assert str(check(lopsided, HARDWARE, torch.ones(1, 2))).count("<0.1 %") == 2


def test_the_table_is_plain_data() -> None:
    rows = check(Reader(), HARDWARE, TOKENS).table()
    assert json.loads(json.dumps(rows)) == rows
    assert {
        "name", "layer", "shape", "parameters", "macs", "crossbar", "why", "unused", "reason", "remedy",
        "share_of_parameters", "share_of_macs",
    } == rows[0].keys()  # fmt: skip


def test_the_shares_of_the_rows_and_of_two_activations_are_everything() -> None:
    coverage = check(Reader(), HARDWARE, TOKENS)
    facts = json.loads(json.dumps(coverage.facts()))
    assert sum(row["share_of_parameters"] for row in facts["rows"]) == pytest.approx(1)
    between = facts["macs_between_activations"] / facts["macs"]
    assert sum(row["share_of_macs"] for row in facts["rows"]) + between == pytest.approx(1)
    assert Coverage.model_validate(facts) == coverage
    assert all(row["share_of_macs"] is None for row in check(Reader(), HARDWARE).table())


def test_the_macs_do_not_depend_on_the_size_of_the_sample() -> None:
    assert check(Reader(), HARDWARE, TOKENS[:1]).rows == check(Reader(), HARDWARE, TOKENS).rows


def test_a_model_without_matrices_is_refused() -> None:
    with pytest.raises(ModelError, match="no matrix"):
        check(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)), HARDWARE)


LAYERS = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


def test_what_is_printed_names_the_layers_with_hardware_of_their_own() -> None:
    from everychip.hardware.layers import Layer
    from everychip.mapping import Direct

    rules = (Layer(match=("2",), device=Gaussian(sigma=0.02)), Layer(match=("*",), mapping=Direct()))
    plain, ruled = check(LAYERS, HARDWARE), check(LAYERS, HARDWARE.replace(layers=rules))
    assert "of its own" not in str(plain) and all("rule" not in row for row in plain.table())
    lines = str(ruled).splitlines()
    rows = {line.split()[0]: line for line in lines if line.startswith(("0.", "2."))}
    notes = {
        words: n for n, words in re.findall(r"\((\d)\) on the [^(]*\(([^)]*)\)", " ".join(str(ruled).split()))
    }
    for name, words in (("0.weight", "kind direct"), ("2.weight", "gaussian, σ 0.02")):
        (number,) = (n for found, n in notes.items() if words in found)
        assert rows[name].endswith(f"yes ({number})"), "the first rule that names it counts"
    assert all(len(line) <= 80 for line in lines)
    assert Coverage.model_validate(ruled.facts()) == ruled
    digital = check(LAYERS, HARDWARE.replace(layers=rules, digital=("2",)))
    assert not next(row.rule for row in digital.rows if row.name == "2.weight")


@pytest.mark.parametrize("form", ["stream", "loader", "data set", "frame", "pair of inputs", "named"])
def test_a_sample_is_taken_from_whatever_holds_inputs(form: str) -> None:
    import pandas as pd
    from torch.utils.data import DataLoader, TensorDataset

    from everychip.data import Arrays, Stream

    x, y = torch.zeros(6, 8), torch.zeros(6, dtype=torch.long)
    pairs = TensorDataset(x, y)
    named = {f"c{n}": x[:, n].numpy() for n in range(8)} | {"label": y.numpy()}
    forms = {
        "stream": Stream(DataLoader(pairs, batch_size=3)),
        "loader": DataLoader(pairs, batch_size=3),
        "data set": pairs,
        "frame": pd.DataFrame(named),
        "pair of inputs": Arrays(x, y),
        "named": {"input": x},
    }
    assert check(LAYERS, HARDWARE, forms[form]).total_macs == 8 * 16 + 16 * 2


def test_targets_in_the_sample_are_refused_with_what_to_do() -> None:
    x, y = torch.zeros(6, 8), torch.zeros(6, dtype=torch.long)
    with pytest.raises(ModelError, match="as the model takes it, without its targets"):
        check(LAYERS, HARDWARE, (x, y))
    with pytest.raises(DataError, match=r"^check.sample: found 'photo.png'; expected a batch of inputs"):
        check(LAYERS, HARDWARE, "photo.png")
