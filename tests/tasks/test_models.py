"""Models that people bring: several and named inputs, any output, frozen parts, adapters, precisions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import everychip as ec
from everychip.errors import ModelError
from everychip.rng import rng_for, seeded_global_generator

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
X, Z = torch.randn(48, 8, generator=rng_for(0, "x")), torch.randn(48, 4, generator=rng_for(0, "z"))
Y = X[:, :2] + Z[:, :2]
IDS = torch.randint(1, 30, (40, 12), generator=rng_for(0, "ids"))
MASK = torch.ones_like(IDS)
MASK[:20, 7:] = 0


@dataclass
class Output:
    logits: Tensor
    other: Tensor


class TwoInputs(nn.Module):
    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.form = form
        with seeded_global_generator(0, "two"):
            self.left, self.right = nn.Linear(8, 16), nn.Linear(4, 16)
            self.head = nn.Linear(16, 2)

    def forward(self, a: Tensor, b: Tensor) -> object:
        z = self.head(torch.relu(self.left(a) + self.right(b)))
        forms = {"tuple": (z, a), "dict": {"loss": z.sum(), "logits": z}, "dataclass": Output(z, a)}
        return forms.get(self.form, z)


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict", "dataclass"])
@pytest.mark.parametrize("named", [True, False])
def test_several_inputs_and_any_output_are_trained_checked_and_evaluated(form, named):
    inputs = {"b": Z, "a": X} if named else (X, Z)
    model, plain = TwoInputs(form), TwoInputs()
    before = ec.evaluate(model, HW, (inputs, Y), task="regression", chips=2)
    with torch.no_grad():
        z = functional_call(plain, ec.program(plain, HW, seed=0, chip=1), (X, Z))
    assert float(before.RMSE[1]) == pytest.approx(float((z - Y).square().mean().sqrt()), rel=1e-5)
    options = {"hardware": HW, "task": "regression", "epochs": 4, "batch_size": 8, "lr": 0.01}
    ec.fit(model, "resilient", (inputs, Y), **options)
    ec.fit(plain, "resilient", ((X, Z), Y), **options)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    after = ec.evaluate(model, HW, (inputs, Y), task="regression", chips=2)
    assert after.RMSE.mean() < before.RMSE.mean()
    coverage = ec.check(model, HW, inputs)
    assert coverage.total_macs == 8 * 16 + 4 * 16 + 16 * 2


def test_a_model_that_does_not_take_the_names_is_refused_in_one_line():
    with pytest.raises(ModelError, match=r"\{a: \[2, 8\], c: \[2, 4\]\}"):
        ec.evaluate(TwoInputs(), HW, ({"a": X, "c": Z}, Y), task="regression", chips=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_other_precisions_are_trained_and_evaluated(dtype):
    model = TwoInputs().to(dtype)
    data = ((X.to(dtype), Z.to(dtype)), Y.to(dtype))
    ec.fit(model, "noise_injection", data, hardware=HW, task="regression", epochs=2, batch_size=8, lr=0.01)
    assert {p.dtype for p in model.parameters()} == {dtype}
    draws = ec.evaluate(model, HW, data, task="regression", chips=2)
    assert draws.RMSE.isfinite().all()


def double() -> nn.Module:
    with seeded_global_generator(0, "double"):
        return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).double()


def frame(x, y):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(x).assign(label=y)


CLASSES = (X[:, 0] > 0).long()
FORMS = {
    "numpy": lambda: (X.double().numpy(), CLASSES.numpy()),
    "pandas": lambda: frame(X.double().numpy(), CLASSES.numpy()),
    "float32 tensors": lambda: (X, CLASSES),
    "a loader": lambda: torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(X, CLASSES), batch_size=10
    ),
    "a stream": lambda: ec.data.Stream(lambda: [(X[:24], CLASSES[:24]), (X[24:], CLASSES[24:])]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_model_in_double_takes_data_of_any_form_as_it_takes_doubles(form):
    model = double().eval()
    there = ec.evaluate(model, HW, FORMS[form](), chips=3)
    exact = ec.evaluate(model, HW, (X.double(), CLASSES), chips=3)
    assert there.accuracy.tolist() == exact.accuracy.tolist()
    assert there.nll.tolist() == pytest.approx(exact.nll.tolist(), rel=1e-14)
    assert ec.check(model, HW, X).total_macs == 8 * 16 + 16 * 2


@pytest.mark.parametrize("method", ["noise_injection", "irs", "sam"])
def test_a_model_in_double_is_trained_on_float32_as_on_the_same_doubles(method):
    options = {"hardware": HW, "epochs": 20, "batch_size": 8, "lr": 0.02}
    one = ec.fit(double(), method, (X.numpy(), CLASSES.numpy()), **options)
    other = ec.fit(double(), method, (X.double(), CLASSES), **options)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_sensitivity_break_even_and_the_worst_case_take_a_model_in_double():
    model, data = double().eval(), (X.numpy(), CLASSES.numpy())
    assert len(ec.sensitivity(model, HW, data, chips=2).layers) == 2
    assert ec.worst_case_search(model, HW, data, th=0.1, steps=2, restarts=1).clean <= 1
    array = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), array=ec.Array())
    assert ec.calibrate(model, array, data) is not None


class Named(nn.Module):
    """Two outputs by name, of which the first is not the one that is meant."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        with seeded_global_generator(0, "named"):
            self.other, self.head = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.names, (self.other(x), self.head(x)), strict=True))


@pytest.mark.parametrize("name", ["logits", "out", "sentence_embedding", "last_hidden_state"])
def test_of_several_outputs_by_name_the_one_is_scored_that_libraries_call_so(name):
    model = Named("features", name)
    plain = nn.Sequential(model.head)
    draws = ec.evaluate(model, ec.Hardware(device=ec.devices.Ideal()), (X, CLASSES), chips=1)
    right = (plain(X).argmax(1) == CLASSES).double().mean()
    assert float(draws.accuracy[0]) == float(right)


@pytest.mark.parametrize(
    "act",
    [
        lambda model: ec.evaluate(model, HW, (X, CLASSES), chips=1),
        lambda model: ec.evaluate(model, HW, (X, Y), task="regression", chips=1),
        lambda model: ec.evaluate(model, HW, X, task="embedding", chips=1),
        lambda model: ec.fit(model, "vanilla", (X, CLASSES), hardware=HW, epochs=1, batch_size=8),
        lambda model: ec.sensitivity(model, HW, (X, CLASSES), chips=2),
        lambda model: ec.run(model, {}, X),
    ],
    ids=["classification", "regression", "embedding", "training", "sensitivity", "run"],
)
def test_of_several_outputs_by_other_names_none_is_guessed(act):
    with pytest.raises(ModelError) as caught:
        act(Named("scores", "features"))
    line = str(caught.value)
    assert "found outputs scores, features; expected an entry called logits" in line
    assert 'model(x)["scores"]' in line


def test_frozen_parts_stay_and_are_on_the_chip():
    model = TwoInputs()
    model.left.requires_grad_(False)
    kept = model.left.weight.clone()
    ec.fit(model, "irs", ((X, Z), Y), hardware=HW, task="regression", epochs=2, batch_size=8)
    assert torch.equal(model.left.weight, kept)
    assert "left.weight" in ec.program(model, HW, seed=0, chip=0)


def bert(**options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=30, max_position_embeddings=16, num_labels=3, **sizes)
    with seeded_global_generator(0, "bert"):
        return getattr(transformers, options["kind"])(config).eval()


def gpt2():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=16, vocab_size=30, n_positions=16,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with seeded_global_generator(0, "gpt2"):
        return transformers.GPT2LMHeadModel(config).eval()


def test_padded_text_is_classified_with_its_attention_mask():
    model, labels = bert(kind="BertForSequenceClassification"), torch.arange(40) % 3
    batch = {"input_ids": IDS, "attention_mask": MASK}
    draws = ec.evaluate(model, HW, (batch, labels), chips=2, batch_size=9)
    padded = {"input_ids": torch.where(MASK.bool(), IDS, 0), "attention_mask": MASK}
    again = ec.evaluate(model, HW, {**padded, "labels": labels}, chips=2)
    assert torch.equal(draws.accuracy, again.accuracy), "what the mask hides does not count"
    with torch.no_grad():
        chip = ec.program(model, HW, seed=0, chip=0)
        z = functional_call(model, chip, (), batch).logits
    assert float(draws.accuracy[0]) == float((z.argmax(-1) == labels).double().mean())


def test_token_labels_count_where_the_mask_says_so():
    model, labels = bert(kind="BertForTokenClassification"), IDS % 3
    batch = {"input_ids": IDS, "attention_mask": MASK}
    draws = ec.evaluate(model, HW, (batch, labels), task="tokens", chips=1)
    with torch.no_grad():
        z = functional_call(model, ec.program(model, HW, seed=0, chip=0), (), batch).logits
    right = (z.argmax(-1) == labels)[MASK.bool()]
    assert float(draws.accuracy[0]) == pytest.approx(float(right.double().mean()))
    assert len(right) < labels.numel()


def test_a_causal_language_model_has_the_perplexity_that_transformers_gives_it():
    model = gpt2()
    batch = {"input_ids": IDS, "attention_mask": MASK}
    draws = ec.evaluate(model, HW, batch, task={"kind": "tokens", "causal": True}, chips=1)
    labels = torch.where(MASK.bool(), IDS, -100)
    with torch.no_grad():
        chip = ec.program(model, HW, seed=0, chip=0)
        loss = ec.run(model, chip, {**batch, "labels": labels, "return_dict": False})
    assert float(draws.loss[0]) == pytest.approx(float(loss), rel=1e-5)
    assert float(draws.perplexity[0]) == pytest.approx(float(loss.exp()), rel=1e-5)


@pytest.mark.filterwarnings("ignore:training at chance")
def test_checkpointed_parts_are_trained_as_they_are_without():
    trained = []
    for checkpointed in (False, True):
        model = gpt2()
        if checkpointed:
            known = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
            next(getattr(model, name) for name in known if hasattr(model, name))()
        data = {"input_ids": IDS, "labels": IDS}
        options = {"hardware": HW, "epochs": 1, "batch_size": 8, "task": {"kind": "tokens", "causal": True}}
        trained.append(ec.fit(model, "noise_injection", data, **options))
    for one, other in zip(trained[0].parameters(), trained[1].parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.filterwarnings("ignore:training at chance")
def test_adapters_stay_digital_and_are_all_that_is_trained():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft = pytest.importorskip("peft")
        config = peft.LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM", fan_in_fan_out=True)
        with seeded_global_generator(0, "lora"):
            model = peft.get_peft_model(gpt2(), config)
    hw = HW.replace(digital=("*lora_*",))
    chip = ec.program(model, hw, seed=0, chip=0)
    assert chip and not any("lora" in name for name in chip)
    assert any("base_layer" in name for name in chip)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = {"input_ids": IDS, "attention_mask": MASK, "labels": IDS}
    task = {"kind": "tokens", "causal": True}
    ec.fit(model, "noise_injection", data, hardware=hw, task=task, epochs=2, batch_size=8, lr=0.01)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all("lora" in name for name in changed)
    assert ec.evaluate(model, hw, data, task=task, chips=2).perplexity.isfinite().all()


def test_a_compiled_model_is_scored_as_it_is_written():
    model = TwoInputs()
    compiled = torch.compile(model, backend="eager")
    one, other = (ec.evaluate(m, HW, ((X, Z), Y), task="regression", chips=2) for m in (model, compiled))
    assert torch.allclose(one.RMSE, other.RMSE, rtol=1e-6)
