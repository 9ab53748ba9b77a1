"""Which parameters the crossbar holds, and why not the others."""

from __future__ import annotations

import copy

import pytest
import torch
from reference.zoo import FreeMatrices, SelfAttention, TiedLanguageModel
from torch import nn

from everychip import Hardware, devices
from everychip.errors import ConfigError, ModelError

GAUSSIAN = devices.Gaussian(sigma=0.1)


def hardware(**fields):
    return Hardware(device=GAUSSIAN, **fields)


def small():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 8), nn.PReLU(), nn.Linear(8, 2)
    )


def reasons(model, **fields):
    return {row.name: row.reason for row in hardware(**fields).placement(model) if not row.crossbar}


def test_matrices_are_on_the_crossbar_and_biases_and_norms_are_not():
    model = small()
    assert list(hardware().crossbar(model)) == ["0.weight", "3.weight", "5.weight"]
    why = reasons(model)
    assert set(why) == {"0.bias", "1.weight", "1.bias", "3.bias", "4.weight", "5.bias"}
    assert why["1.weight"] == "a normalisation is computed digitally"
    assert why["3.bias"] == "a bias or vector is added digitally"


def test_every_parameter_is_placed_once_in_the_models_order():
    model = small()
    rows = hardware().placement(model)
    assert [row.name for row in rows] == [name for name, _ in model.named_parameters()]
    assert all(row.parameter is model.get_parameter(row.name) for row in rows)


def test_a_layer_norm_over_a_matrix_stays_digital():
    model = nn.Sequential(nn.LayerNorm((4, 8)), nn.Linear(8, 2))
    assert list(hardware().crossbar(model)) == ["1.weight"]


@pytest.mark.parametrize(
    ("digital", "left"),
    [
        (["0"], ["3.weight", "5.weight"]),
        (["0.weight"], ["3.weight", "5.weight"]),
        (["[35]"], ["0.weight"]),
        (["*.bias"], ["0.weight", "3.weight", "5.weight"]),
        (["0", "5.*"], ["3.weight"]),
    ],
)
def test_globs_name_parameters_or_modules(digital, left):
    model = small()
    held = hardware(digital=digital)
    assert list(held.crossbar(model)) == left


def test_globs_reach_into_nested_modules():
    model = nn.ModuleDict(
        {"encoder": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "head": nn.Linear(4, 2)}
    )
    assert list(hardware(digital=["encoder"]).crossbar(model)) == ["head.weight"]
    assert list(hardware(digital=["*.1"]).crossbar(model)) == ["encoder.0.weight", "head.weight"]


@pytest.mark.parametrize("pattern", ["haed", "0.wieght", "6", ""])
def test_a_glob_that_matches_nothing_is_an_error_that_shows_real_names(pattern):
    with pytest.raises(ConfigError, match=r"hardware\.digital: found '.*0\.weight") as error:
        hardware(digital=["5", pattern]).crossbar(small())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "build",
    [nn.ReLU, lambda: nn.BatchNorm2d(3), lambda: nn.Embedding(5, 3), nn.Sequential, lambda: nn.Linear(3, 0)],
    ids=["relu", "batch norm", "embedding", "nothing", "no outputs"],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_model_without_matrices_is_refused_in_one_line(build):
    with pytest.raises(ModelError, match="no matrix that a crossbar could hold") as error:
        hardware().crossbar(build())
    assert "\n" not in str(error.value)


def test_making_everything_digital_is_refused():
    with pytest.raises(ModelError, match="no matrix"):
        hardware(digital=["*"]).crossbar(small())


def test_embeddings_are_on_the_crossbar_by_choice():
    model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 2))
    assert list(hardware().crossbar(model)) == ["1.weight"]
    assert list(hardware(embeddings=True).crossbar(model)) == ["0.weight", "1.weight"]
    assert reasons(model)["0.weight"] == "an embedding table is a look-up"


def test_a_table_that_is_also_the_output_layer_is_a_matrix_with_two_owners():
    rows = hardware().placement(TiedLanguageModel())
    table = next(row for row in rows if row.name == "embedding.weight")
    assert (table.crossbar, table.owners) == (True, ("embedding", "head"))
    assert [row.name for row in rows] == ["embedding.weight", "body.weight", "body.bias"]


@pytest.mark.parametrize("pattern", ["embedding", "head", "head.weight"])
def test_a_tied_matrix_can_be_named_by_any_of_its_names(pattern):
    assert list(hardware(digital=[pattern]).crossbar(TiedLanguageModel())) == ["body.weight"]


def test_a_module_held_twice_can_be_named_by_either_place():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(4, 2))
    assert list(hardware().crossbar(model)) == ["0.weight", "3.weight"]
    assert list(hardware(digital=["2"]).crossbar(model)) == ["3.weight"]


def test_free_matrices_are_held_and_free_tokens_are_not():
    model = FreeMatrices()
    model.token = nn.Parameter(torch.zeros(1, 1, 8))
    assert set(hardware().crossbar(model)) == {"mixing", "more.0", "more.1", "named.last"}
    assert "is added" in reasons(model)["token"]


def test_biases_of_attention_stay_digital_whatever_their_shape():
    assert set(reasons(SelfAttention(add_bias_kv=True))) >= {"attention.bias_k", "attention.bias_v"}


def test_complex_and_integer_parameters_stay_digital():
    model = nn.Linear(4, 4)
    model.spectrum = nn.Parameter(torch.zeros(3, 3, dtype=torch.complex64))
    model.codes = nn.Parameter(torch.zeros(3, 3, dtype=torch.int64), requires_grad=False)
    assert reasons(model)["spectrum"] == "torch.complex64 is not floating point"
    assert reasons(model)["codes"] == "torch.int64 is not floating point"


def _new_weight_norm(layer):
    return nn.utils.parametrizations.weight_norm(layer)


def _spectral_norm(layer):
    return nn.utils.spectral_norm(layer)


def _pruned(layer):
    return nn.utils.prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.parametrize("wrap", [_new_weight_norm, _spectral_norm, _pruned])
def test_a_weight_that_is_computed_from_other_parameters_is_refused_with_the_remedy(wrap):
    import torch.nn.utils.prune  # noqa: F401 (not loaded by torch itself)

    model = nn.Sequential(wrap(nn.Linear(4, 4)), nn.Linear(4, 2))
    with pytest.raises(ModelError, match=r"0\..*another weight is computed from.*remove_param") as error:
        hardware().crossbar(model)
    assert "\n" not in str(error.value)
    assert list(hardware(digital=["0"]).crossbar(model)) == ["1.weight"]


def test_a_folded_parametrisation_is_an_ordinary_matrix():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert list(hardware().crossbar(layer)) == ["weight"]


def test_a_lazy_model_is_asked_for_a_first_batch():
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ModelError, match="run the model once on a batch"):
        hardware().crossbar(model)
    model(torch.ones(2, 3))
    assert list(hardware().crossbar(model)) == ["0.weight"]


@pytest.mark.parametrize(
    ("wrap", "word"),
    [
        (nn.DataParallel, "model.module"),
        (lambda model: torch.jit.trace(model, torch.ones(2, 4)), "TorchScript"),
    ],
    ids=["data parallel", "traced"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrappers_that_hide_their_weights_are_refused_with_the_remedy(wrap, word):
    with pytest.raises(ModelError, match=word) as error:
        hardware().crossbar(wrap(nn.Linear(4, 2)))
    assert "\n" not in str(error.value)


def test_with_sigma_keeps_the_rest_of_the_hardware():
    held = hardware(digital=["0"], embeddings=True)
    raised = held.with_sigma(0.4)
    assert raised.device.nominal_sigma == 0.4
    assert raised.replace(device=GAUSSIAN) == held


def test_hardware_survives_its_own_table():
    held = hardware(digital=["head"], embeddings=True)
    assert Hardware.read(held.table(), where="hardware") == held


def test_looking_at_a_model_does_not_change_it():
    model = small()
    before = copy.deepcopy(model.state_dict())
    hardware().placement(model)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_a_misspelt_field_names_the_known_ones():
    with pytest.raises(ConfigError, match="did you mean digital"):
        Hardware(device=GAUSSIAN, digitial=["0"])


def test_one_pattern_must_come_in_a_list():
    with pytest.raises(ConfigError, match="digital"):
        Hardware(device=GAUSSIAN, digital="0")
