"""Draws, verdicts and comparisons of every task, and scores of one's own."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call as call_with_gradient

import everychip as ec
from everychip.data import Examples
from everychip.errors import ConfigError, DataError, ModelError
from everychip.network.running import Runner
from everychip.rng import rng_for, seeded_global_generator
from everychip.statistics.percentiles import kpp, yield_at
from everychip.statistics.verdict import verdict

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
X = torch.randn(60, 8, generator=rng_for(0, "x"))
RMSE = ec.tasks.Score("RMSE", higher_is_better=False, within=(0, math.inf))


@torch.no_grad()
def functional_call(model, chip, inputs):
    return call_with_gradient(model, chip, inputs)


def mlp(outputs: int = 3) -> nn.Sequential:
    with seeded_global_generator(0, "net"):
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, outputs)).eval()


@pytest.fixture
def model() -> nn.Sequential:
    return mlp()


def test_every_chip_is_scored_as_functional_call_scores_it(model):
    y = model(X).detach()
    draws = ec.evaluate(model, HW, (X, y), task="regression", chips=4, batch_size=17, seed=5)
    for n in range(4):
        z = functional_call(model, ec.program(model, HW, seed=5, chip=n), (X,))
        assert float(draws.RMSE[n]) == pytest.approx(float((z - y).square().mean().sqrt()), rel=1e-5)
    assert draws.score.name == "RMSE" and torch.equal(draws.values, draws.scores["RMSE"])
    assert "accuracy" not in draws.scores
    with pytest.raises(AttributeError, match="scores: RMSE, MAE, R2"):
        draws.accuracy


def test_a_classification_by_name_is_the_default_to_the_bit(model):
    y = model(X).argmax(1)
    one = ec.evaluate(model, HW, (X, y), chips=5)
    other = ec.evaluate(model, HW, (X, y), chips=5, task=ec.tasks.Classification())
    assert all(torch.equal(one.scores[name], other.scores[name]) for name in one.scores)


@pytest.mark.parametrize("k", [5, 10, 30])
def test_percentiles_of_an_error_are_those_of_its_negative_from_the_bad_end(k):
    values = torch.rand(400, generator=rng_for(1), dtype=torch.float64) * 9
    up, down = kpp(values, k=k, score=RMSE), kpp(-values, k=k)
    assert (up.estimate, up.low, up.high) == (-down.estimate, -down.high, -down.low)
    worse = float((values >= up.estimate).double().mean())
    assert worse == pytest.approx(k / 100, abs=1 / 400)


def test_yield_counts_errors_below_the_target():
    found = yield_at([1.0, 2.0, 3.0, 4.0], target=3.0, score=RMSE)
    assert found.estimate == 0.75


def test_the_verdict_on_an_error_has_its_unit_and_no_percent():
    kelvin = ec.tasks.Score("RMSE", False, (0, math.inf), "K")
    said = str(verdict([1.5 + 0.01 * (i % 7) for i in range(80)], target=1.53, score=kelvin))
    assert said.startswith("mean RMSE 1.529") and " K " in said and "lower is better" in said
    assert "yield at RMSE ≤ 1.53 K" in said
    assert "accuracy" not in said
    assert "worst 1.56" in said, "the worst of an error is the largest"


def test_intervals_keep_to_the_bounds_of_the_score_and_no_others():
    skewed = [0.1] * 40 + [9.0]
    assert verdict(skewed, score=RMSE).mean.low >= 0
    assert verdict(skewed, score=RMSE).mean.high > 1
    free = ec.tasks.Score("reward")
    assert verdict([-3.0, 0.0, 3.0], score=free).mean.low < -3


def test_comparisons_speak_in_the_unit_and_the_same_chips(model):
    y = model(X).detach()
    good = ec.evaluate(model, HW.with_sigma(0.05), (X, y), task="regression", chips=12)
    bad = ec.evaluate(model, HW.with_sigma(0.2), (X, y), task="regression", chips=12)
    text = str(bad.compare(good))
    assert text.startswith("+") and "RMSE" in text and "lower is better" in text and "points" not in text
    difference = bad.compare(good).difference
    assert difference.estimate == pytest.approx(float((bad.values - good.values).mean()))
    with pytest.raises(DataError, match="score"):
        bad.compare(ec.evaluate(model, HW, (X, y), task={"kind": "regression", "score": "MAE"}, chips=12))


def test_an_evaluation_stops_when_the_error_is_known(model):
    y = model(X).detach()
    draws = ec.evaluate(model, HW, (X, y), task="regression", until="±0.1 failures 5 %", chips=400)
    assert 60 <= len(draws) < 400
    assert draws.verdict().mean.half <= 0.1
    with pytest.raises(ConfigError, match="0 … 1"):
        ec.evaluate(model, HW, (X, y), task="regression", until="±0.1 bernstein", chips=40_000)


def test_sensitivity_and_break_even_count_what_the_error_rises_by(model):
    y = model(X).detach()
    found = ec.sensitivity(model, HW, (X, y), task="regression", chips=4)
    assert all(row.lost.estimate > 0 for row in found.layers)
    assert "RMSE lost" in str(found) and "points" not in str(found)
    edge = ec.break_even(model, HW, (X, y), task="regression", target=0.5, chips=4)
    means = dict(edge.steps)
    below, above = (max(s for s in means if s < edge.sigma), min(s for s in means if s > edge.sigma))
    assert means[below].estimate <= 0.5 <= means[above].estimate
    assert "mean RMSE crosses 0.5" in str(edge)


def test_draws_of_an_error_are_saved_and_read_with_their_score(model, tmp_path):
    draws = ec.evaluate(model, HW, (X, X[:, :3]), task={"kind": "regression", "unit": "K"}, chips=3)
    draws.save(tmp_path / "d.parquet")
    back = ec.Draws.load(tmp_path / "d.parquet")
    assert back.score == draws.score and torch.equal(back.MAE, draws.MAE)
    assert str(back) == str(draws)
    assert "RMSE of one chip in K" in str(draws.plot().to_dict())


def test_a_function_of_predictions_and_targets_scores_every_chip(model):
    y = X[:, :3]
    seen = []

    def worst_error(predictions, targets):
        seen.append((predictions.shape, targets.shape))
        return (predictions - targets).abs().max()

    scored = ec.tasks.scored_by(worst_error, higher_is_better=False)
    draws = ec.evaluate(model, HW, (X, y), task="regression", score=scored, chips=3, batch_size=7)
    assert seen == [((60, 3), (60, 3))] * (3 + 1)  # three chips, and the digital network beside them
    z = functional_call(model, ec.program(model, HW, seed=0, chip=1), (X,))
    assert float(draws.worst_error[1]) == pytest.approx(float((z - y).abs().max()), rel=1e-5)
    assert not draws.score.higher_is_better


def test_a_function_of_a_run_gets_the_data_as_they_are_and_may_give_several_numbers(model):
    given = {"anything": X}

    def look(run, data):
        assert data is given
        assert not torch.is_grad_enabled() and not model.training
        return {"mean": run(data["anything"]).detach().mean(), "n": len(data["anything"])}

    model.train()
    draws = ec.evaluate(model, HW, given, score=ec.tasks.scored_by(look, name="mean"), chips=2)
    assert list(draws.scores) == ["mean", "n"]
    z = functional_call(model, ec.program(model, HW, seed=0, chip=0), (X,))
    assert float(draws.values[0]) == pytest.approx(float(z.mean()), rel=1e-5)
    assert model.training


@pytest.mark.parametrize("kind", [Examples, ec.data.Arrays, tuple])
def test_a_function_of_a_run_gets_all_of_the_data_whatever_holds_them(model, kind):
    y = torch.arange(len(X)) % 3
    given = (X, y) if kind is tuple else kind(X, y)

    def seen(run, data):
        assert data is given
        return len(run(X))

    draws = ec.evaluate(model, HW, given, score=seen, chips=2)
    assert draws.values.tolist() == [len(X)] * 2 and draws.digital == len(X) and draws.whole_test


def test_labels_that_recall_needs_are_asked_for_before_the_network_is_run(model):
    runs = []
    handle = model.register_forward_pre_hook(lambda *_: runs.append(1))
    with pytest.raises(DataError, match="no labels|class numbers|targets"):
        ec.tasks.Embedding(score="recall").prepared(Runner(model), Examples(X))
    handle.remove()
    assert not runs


def test_a_metric_of_torchmetrics_says_its_direction_and_keeps_nothing(model):
    from torchmetrics import MeanAbsoluteError

    metric = MeanAbsoluteError()
    draws = ec.evaluate(model, HW, (X, X[:, :3]), task="regression", score=metric, chips=3)
    plain = ec.evaluate(model, HW, (X, X[:, :3]), task={"kind": "regression", "score": "MAE"}, chips=3)
    assert torch.allclose(draws.values, plain.values)
    assert not draws.score.higher_is_better


@pytest.mark.parametrize(
    ("score", "error", "words"),
    [
        (3, ConfigError, "found a int; expected a function"),
        (lambda p, t: "no", DataError, "found a str for <lambda>; expected a number"),
        (lambda p, t: math.nan, DataError, "found NaN"),
        (lambda p, t: {"a": 1}, ConfigError, "scores a; expected one called <lambda>"),
    ],
)
def test_scores_that_are_none_are_refused_in_one_line(model, score, error, words):
    with pytest.raises(error, match=words):
        ec.evaluate(model, HW, (X, X[:, :3]), task="regression", score=score, chips=2)


class Scorer:
    def __call__(self, run, data):
        return run(data).detach().mean()

    def of_a_chip(self, chip, data):
        return chip(data).detach().mean()

    def of_answers(self, run, targets):
        return (run - targets).abs().mean()


def hidden(*arguments):
    return Scorer().of_a_chip(*arguments)


@pytest.mark.parametrize(
    ("score", "runs"),
    [
        (Scorer(), None),
        (Scorer().__call__, None),
        (partial(Scorer.__call__, None), None),
        (Scorer().of_a_chip, True),
        (hidden, True),
        (partial(hidden), True),
    ],
    ids=["callable", "method", "partial", "another name", "no names", "partial of none"],
)
def test_a_function_gets_the_chip_by_its_first_parameter_s_name_or_because_runs_says_so(model, score, runs):
    own = ec.tasks.scored_by(score, name="mean", runs=runs)
    draws = ec.evaluate(model, HW, X, score=own, chips=2)
    for n in range(2):
        z = functional_call(model, ec.program(model, HW, seed=0, chip=n), (X,))
        assert float(draws.values[n]) == pytest.approx(float(z.mean()), rel=1e-5)


def test_predictions_that_are_called_run_are_predictions_where_runs_says_so(model):
    own = ec.tasks.scored_by(Scorer().of_answers, name="error", higher_is_better=False, runs=False)
    data = (X, X[:, :3])
    draws = ec.evaluate(model, HW, data, task="regression", score=own, chips=2)
    plain = ec.evaluate(model, HW, data, task={"kind": "regression", "score": "MAE"}, chips=2)
    assert draws.values.tolist() == pytest.approx(plain.values.tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("score", "words"),
    [(Scorer().of_a_chip, "runs=True"), (Scorer().of_answers, "runs=False"), (lambda z: 0.0, "runs=True")],
    ids=["a chip by another name", "predictions called run", "one argument"],
)
def test_an_error_of_the_function_says_what_it_was_called_with(model, score, words):
    with pytest.raises((TypeError, AttributeError)) as caught:
        ec.evaluate(model, HW, (X, X[:, :3]), task="regression", score=score, chips=2)
    (note,) = caught.value.__notes__
    assert words in note and "everychip called it with" in note
    said = ec.tasks.scored_by(score, runs=words != "runs=True")
    with pytest.raises((TypeError, AttributeError)) as caught:
        ec.evaluate(model, HW, (X, X[:, :3]), task="regression", score=said, chips=2)
    assert not hasattr(caught.value, "__notes__"), "who says how it is called is not told"


def test_embeddings_need_no_labels_and_the_digital_network_finds_itself(model):
    ideal = ec.evaluate(model, HW.with_sigma(0.0), X, task="embedding", chips=1)
    assert float(ideal.retrieval[0]) == 1.0 and float(ideal.cosine[0]) == pytest.approx(1.0, abs=1e-6)
    noisy = ec.evaluate(model, HW.with_sigma(0.5), X, task="embedding", chips=3)
    assert (noisy.retrieval < 1).all()
    with pytest.raises(DataError):
        ec.fit(model, "noise_injection", X, task="embedding", hardware=HW, epochs=1)


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.box = nn.Linear(4, 4)

    def forward(self, images):
        return [{"boxes": self.box(image)} for image in images]


@pytest.mark.parametrize("as_list", [True, False])
def test_detectors_of_lists_and_dicts_are_scored_by_a_function(as_list):
    images = [torch.ones(n, 4) for n in (1, 2, 3)]
    boxes = [{"boxes": torch.zeros(n, 4)} for n in (1, 2, 3)]

    def overlap(predictions, targets):
        assert [len(p["boxes"]) for p in predictions] == [len(t["boxes"]) for t in targets] == [1, 2, 3]
        return 0.5

    data = (images, boxes) if as_list else {"images": images, "labels": boxes}
    draws = ec.evaluate(Detector(), HW, data, task="detection", score=overlap, chips=2, batch_size=2)
    assert draws.overlap.tolist() == [0.5, 0.5]
    with pytest.raises(ConfigError, match="score=fn"):
        ec.evaluate(Detector(), HW, data, task="detection", chips=1)


def test_in_the_loop_the_model_is_the_chip_and_afterwards_itself_to_the_bit(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    for chip in ec.chips(model, HW, count=3, seed=7):
        expected = functional_call(model, ec.program(mlp(), HW, seed=7, chip=chip.number), (X,))
        assert torch.equal(model(X), expected)
        assert torch.equal(model.state_dict()["0.weight"], chip.weights["0.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))


@pytest.mark.parametrize("leave", ["break", "raise"])
def test_the_loop_may_be_left_early(model, leave):
    clean = model(X)
    try:
        for _ in ec.chips(model, HW, count=3):
            assert not torch.equal(model(X), clean)
            if leave == "break":
                break
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(model(X), clean)
    ec.evaluate(model, HW, (X, X[:, :3]), task="regression", chips=1)


def test_the_loop_gives_the_chips_that_evaluate_measures(model):
    y = X[:, :3]
    draws = ec.evaluate(model, HW, (X, y), task="regression", chips=3, seed=2)
    with torch.no_grad():
        mine = [float((model(X) - y).square().mean().sqrt()) for _ in ec.chips(model, HW, count=3, seed=2)]
    assert mine == pytest.approx(draws.RMSE.tolist(), rel=1e-5)


def test_inside_the_loop_the_chip_is_not_programmed_or_trained(model):
    for _ in ec.chips(model, HW, count=1):
        for act in (
            lambda: ec.evaluate(model, HW, (X, X[:, :3]), task="regression", chips=1),
            lambda: ec.program(model, HW, seed=0, chip=0),
            lambda: ec.fit(model, "vanilla", (X, X[:, :3]), hardware=HW, epochs=1, task="regression"),
            lambda: ec.chips(nn.Sequential(model), HW),
        ):
            with pytest.raises(ModelError, match="a chip at the moment"):
                act()


def test_other_threads_wait_for_the_loop_to_end(model):
    from threading import Thread

    clean, seen = model(X).detach(), []
    loop = iter(ec.chips(model, HW, count=2))
    next(loop)
    thread = Thread(target=lambda: seen.append(ec.run(model, {}, X).detach()))
    thread.start()
    thread.join(timeout=0.3)
    assert not seen, "it waits"
    loop.close()
    thread.join(timeout=10)
    assert torch.equal(seen[0], clean)


@pytest.mark.parametrize("use", ["the model", "a layer", "its state", "a copy", "functional_call"])
def test_another_thread_that_calls_the_model_in_the_loop_is_refused(model, use):
    from copy import deepcopy
    from threading import Thread

    acts = {
        "the model": lambda: model(X),
        "a layer": lambda: model[0](X),
        "its state": lambda: model.state_dict(),
        "a copy": lambda: deepcopy(model)(X),
        "functional_call": lambda: torch.func.functional_call(model, {}, (X,)),
    }
    told: list[object] = []

    def act():
        try:
            told.append(acts[use]())
        except ModelError as error:
            told.append(error)

    def from_elsewhere():
        thread = Thread(target=act)
        thread.start()
        thread.join()
        return told.pop()

    for _ in ec.chips(model, HW, count=1):
        assert "called from another thread than the loop's" in str(from_elsewhere())
    assert not isinstance(from_elsewhere(), ModelError), "after the loop it is an ordinary model"


def test_a_copy_made_in_the_loop_is_an_ordinary_model_with_the_chip_s_weights(model):
    from copy import deepcopy

    for chip in ec.chips(model, HW, count=1):
        copy, said = deepcopy(model), model(X)
        assert torch.equal(copy[0].weight, chip.weights["0.weight"])
        assert type(copy[0]._parameters) is dict
    assert torch.equal(copy(X), said)


def test_a_loop_that_was_left_leaves_no_chip_though_somebody_keeps_it(model):
    clean = model(X)
    loop, kept = ec.chips(model, HW, count=3), None
    for chip in loop:
        if chip.number == 1:
            break
    assert torch.equal(model(X), clean)
    try:
        for _ in loop:
            raise KeyError
    except KeyError as error:
        kept = error
    assert kept is not None and torch.equal(model(X), clean)
    assert [chip.number for chip in loop] == [0, 1, 2], "each `for` begins with chip 0"


def test_tied_weights_are_one_chip_wherever_they_stand():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    model = Tied()
    for _ in ec.chips(model, HW, count=1):
        assert model.a.weight is model.b.weight
    assert model.a.weight is model.b.weight and isinstance(model.a.weight, nn.Parameter)
