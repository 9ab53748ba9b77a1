"""Monte Carlo: every chip measured as a loop by hand would measure it, and nothing else touched."""

from __future__ import annotations

import copy
import weakref

import numpy as np
import pytest
import torch
from reference.zoo import ARCHITECTURES, ViewNet, architecture
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from everychip import Hardware, devices, evaluate, program, rng_for
from everychip.data import Arrays, Data
from everychip.errors import ConfigError, DataError, EverychipError, ModelError
from everychip.evaluation.measuring import measure
from everychip.network.probing import probe

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.2))
METRICS = ("accuracy", "nll", "brier", "ece", "confidence")


def net():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(6 * 36, 4),
    )  # fmt: skip


def images(n=90, classes=4):
    x = torch.randn(n, 3, 8, 8, generator=rng_for(0, "x"))
    return Arrays(x, torch.arange(n) % classes)


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in METRICS)


# --- the numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [net, lambda: ViewNet(4)], ids=["net", "view"])
def test_the_draws_are_those_of_a_loop_by_hand(build):
    model, data = build(), images()
    draws = evaluate(model, HARDWARE, data, chips=5, seed=3, batch_size=40)
    for n in range(5):
        chip, twin = program(model, HARDWARE, seed=3, chip=n), copy.deepcopy(model).eval()
        with torch.no_grad():
            for name, value in chip.items():
                twin.get_parameter(name).copy_(value)
            z = twin(data.x).double().numpy()
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        y = data.y.numpy()
        assert float(draws.accuracy[n]) == (z.argmax(axis=1) == y).mean()
        assert float(draws.nll[n]) == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean(), rel=1e-4)
        assert float(draws.confidence[n]) == pytest.approx(p.max(axis=1).mean(), rel=1e-4)
    assert draws.accuracy.dtype == torch.float64
    assert (draws.seed, draws.images, draws.whole_test, draws.chip.tolist()) == (3, 90, True, list(range(5)))


def test_a_chip_alone_is_that_chip_in_a_batch():
    model, data = net(), images()
    batch = evaluate(model, HARDWARE, data, chips=6, seed=1)
    fewer = evaluate(model, HARDWARE, data, chips=2, seed=1)
    assert torch.equal(batch.nll[:2], fewer.nll)
    for n in (5, 0, 3):
        row = measure(model, program(model, HARDWARE, seed=1, chip=n), data)
        assert {name: float(getattr(batch, name)[n]) for name in METRICS} == row


def test_the_same_call_gives_the_same_draws_and_another_seed_others():
    model, data = net(), images()
    first = evaluate(model, HARDWARE, data, chips=4, seed=0)
    assert same(first, evaluate(model, HARDWARE, data, chips=4, seed=0))
    assert not same(first, evaluate(model, HARDWARE, data, chips=4, seed=1))
    assert not same(first, evaluate(model, HARDWARE, data, chips=4, seed=0, purpose="validate"))


@pytest.mark.parametrize("batch_size", [1, 7, 20, 1000])
def test_the_size_of_the_batches_does_not_matter(batch_size):
    model, data = net(), images(n=20)
    whole, parts = (evaluate(model, HARDWARE, data, chips=2, batch_size=b) for b in (500, batch_size))
    torch.testing.assert_close(whole.nll, parts.nll, rtol=1e-5, atol=1e-6)


def test_without_noise_every_chip_is_the_digital_model():
    model, data = net(), images()
    draws = evaluate(model, HARDWARE.with_sigma(0.0), data, chips=3)
    digital = measure(model, {}, data)
    assert draws.nll.tolist() == pytest.approx([digital["nll"]] * 3, rel=1e-6)


def test_bfloat16_is_close_to_float32_and_another_computation():
    model, data = net(), images()
    exact, rough = (evaluate(model, HARDWARE, data, chips=4, precision=p) for p in ("float32", "bfloat16"))
    torch.testing.assert_close(rough.nll, exact.nll, rtol=0.02, atol=0.02)
    torch.testing.assert_close(rough.accuracy, exact.accuracy, rtol=0, atol=0.06)
    assert not torch.equal(rough.nll, exact.nll)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_models_of_other_precisions_are_measured(dtype):
    model, data = net(), images()
    expected = evaluate(model, HARDWARE.with_sigma(0.0), data, chips=1)
    found = evaluate(model.to(dtype), HARDWARE.with_sigma(0.0), (data.x.to(dtype), data.y), chips=1)
    torch.testing.assert_close(found.nll, expected.nll, rtol=0.05, atol=0.02)


SLOW, NO_CLASSES = ("transposed 3d", "conv3d"), ("linear of one output",)


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n not in (*SLOW, *NO_CLASSES)])
def test_any_architecture_is_measured(name):
    model, x = architecture(name)
    model = nn.Sequential(model, nn.Flatten())
    draws = evaluate(model, HARDWARE, (x, torch.zeros(len(x), dtype=torch.long)), chips=2)
    assert bool(draws.nll.isfinite().all())


def test_a_network_of_one_logit_is_sent_to_the_task_that_reads_it():
    model, x = architecture("linear of one output")
    with pytest.raises(ModelError, match='task="multilabel"'):
        evaluate(model, HARDWARE, (x, torch.zeros(len(x), dtype=torch.long)), chips=2)


# --- the data ---------------------------------------------------------------------------------------------


def test_tensors_numpy_loaders_and_data_sets_give_the_same_draws():
    model, data = net(), images()
    expected = evaluate(model, HARDWARE, data, chips=2)
    pairs = TensorDataset(data.x, data.y)
    for other in (
        (data.x, data.y), [data.x, data.y], (data.x.numpy(), data.y.numpy()), pairs,
        DataLoader(pairs, batch_size=13),
    ):  # fmt: skip
        assert same(evaluate(model, HARDWARE, other, chips=2), expected)


def test_a_data_component_is_measured_on_its_test_part():
    digits = Data.parse("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert same(
        evaluate(model, HARDWARE, digits, chips=2), evaluate(model, HARDWARE, digits.load().test, chips=2)
    )


def test_each_chip_may_meet_random_images_of_its_own():
    model, data = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), images()
    names = {tuple(row.flatten().tolist()): n for n, row in enumerate(data.x)}
    seen = []
    model.register_forward_pre_hook(
        lambda _, args: seen.append([names[tuple(r.flatten().tolist())] for r in args[0]])
    )
    draws = evaluate(model, HARDWARE, data, chips=4, images=30, batch_size=50)
    assert seen[0] == [0, 1], "the trial run on two inputs"
    parts = seen[1:]
    assert [len(set(part)) for part in parts] == [30] * 4
    assert len({tuple(sorted(part)) for part in parts}) == 4
    assert (draws.images, draws.whole_test) == (30, False)
    more = evaluate(model, HARDWARE, data, chips=6, images=30)
    assert torch.equal(more.nll[:4], draws.nll), "chips keep their images however many chips there are"


def test_random_images_are_for_means_and_not_for_percentiles():
    model, data = net(), images()
    draws = evaluate(model, HARDWARE, data, chips=40, images=30)
    said = draws.verdict(target=0.5)
    assert (said.kpp, said.worst, said.yield_) == (None, None, None)
    assert any("random 30 images" in words for words in said.refusals)
    assert said.mean.estimate == pytest.approx(float(draws.accuracy.mean()))


def test_asking_for_more_images_than_there_are_means_all():
    draws = evaluate(net(), HARDWARE, images(), chips=2, images=10_000)
    assert (draws.images, draws.whole_test) == (90, True)


# --- what stays as it was ---------------------------------------------------------------------------------


def test_the_model_its_modes_and_the_global_generator_stay():
    model, data = net().train(), images()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    handle = model[2].register_forward_hook(lambda *_: None)
    modes = [m.training for m in model.modules()]
    state, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    strides = [p.stride() for p in model.parameters()]
    evaluate(model, HARDWARE, data, chips=3, images=20)
    assert [m.training for m in model.modules()] == modes
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert [p.stride() for p in model.parameters()] == strides
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * (len(strides) - 1)
    assert list(model[2]._forward_hooks) == [handle.id]
    assert all(p.grad is None for p in model.parameters())


def test_a_module_held_twice_survives_an_evaluation():
    layer = nn.Linear(6, 6)
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(6, 3))
    before = copy.deepcopy(model.state_dict())
    draws = evaluate(model, HARDWARE, (torch.randn(30, 6), torch.arange(30) % 3), chips=3)
    assert len(set(draws.nll.tolist())) == 3
    assert model[0].weight is model[2].weight
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_an_interruption_leaves_the_model_as_it_was():
    model, data = net().train(), images()
    before = copy.deepcopy(model.state_dict())

    def interrupt(event):
        if event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, HARDWARE, data, chips=5, progress=interrupt)
    assert all(m.training for m in model.modules())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_one_chip_at_a_time_is_held(monkeypatch):
    from everychip.hardware import placement

    alive, programmed, real = [], [], placement.programmed

    def spy(*args, **options):
        alive.append(sum(reference() is not None for reference in programmed))
        chip = real(*args, **options)
        programmed.extend(weakref.ref(value) for value in chip.values())
        return chip

    monkeypatch.setattr(placement, "programmed", spy)
    evaluate(net(), HARDWARE, images(), chips=6)
    assert alive == [0] * 6


def test_progress_counts_the_chips():
    events = []
    draws = evaluate(net(), HARDWARE, images(), chips=3, progress=events.append)
    assert [(e.stage, e.done, e.total) for e in events] == [("chips", n, 3) for n in (1, 2, 3)]
    assert [e.values["accuracy"] for e in events] == draws.accuracy.tolist()


# --- memory layouts ---------------------------------------------------------------------------------------


def test_images_run_channels_last_where_the_model_can_and_contiguous_where_it_cannot():
    x = images().x[:2]
    assert probe(net(), x).layout is torch.channels_last
    assert probe(ViewNet(4), x).layout is torch.contiguous_format
    assert probe(nn.Sequential(nn.Flatten(), nn.Linear(192, 7)), x).classes == 7
    assert probe(nn.Linear(8, 4), torch.zeros(2, 8)).layout is torch.contiguous_format


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [{"chips": 0}, {"chips": -1}, {"chips": 2.5}, {"chips": "3"}, {"images": 0}, {"batch_size": 0}],
    ids=str,
)
def test_what_is_no_count_is_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))) as error:
        evaluate(net(), HARDWARE, images(), **option)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ((torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.long)), DataError),
        ((torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 9])), DataError),
        ((torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2])), DataError),
        ((torch.full((4, 3, 8, 8), torch.nan), torch.arange(4)), DataError),
        ((torch.zeros(4, 5, 8, 8), torch.arange(4)), ModelError),
        ((torch.zeros(4, 3, 8, 8, dtype=torch.float64), torch.arange(4)), ModelError),
        ("digits", ModelError),
        ("digit", DataError),
    ],
    ids=["empty", "label", "length", "nan", "channels", "double", "a set that is not the model's", "a word"],
)
def test_bad_data_is_refused_in_one_line(data, error):
    with pytest.raises(error) as caught:
        evaluate(net(), HARDWARE, data, chips=2)
    assert isinstance(caught.value, EverychipError)
    assert "\n" not in str(caught.value)


def test_tokens_beyond_the_vocabulary_are_refused_in_one_line():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(ModelError, match="fails on inputs of shape") as error:
        evaluate(model, HARDWARE, (torch.full((4, 3), 10), torch.zeros(4, dtype=torch.long)), chips=1)
    assert "\n" not in str(error.value)


def test_a_chip_that_overflows_is_counted_as_wrong_and_not_as_a_crash():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    with torch.no_grad():
        model[0].weight.fill_(3e38)
    draws = evaluate(model, HARDWARE, (torch.ones(10, 4), torch.zeros(10, dtype=torch.long)), chips=2)
    assert draws.accuracy.tolist() == [0.0, 0.0]
    assert not bool(draws.nll.isnan().any())
