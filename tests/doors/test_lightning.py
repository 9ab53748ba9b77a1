"""Lightning, the real library: a training is that of a plain loop, resumed and accumulated, too."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import everychip as ec

L = pytest.importorskip("lightning")
from everychip.doors.lightning import AfterStep, ChipModule  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
METHOD = ec.methods.NoiseInjection(ramp=0.5, constraint=ec.constraints.clip(1.5))
X = torch.randn(64, 8, generator=ec.rng_for(0, "x"))
Y = (X[:, 0] > 0).long() + 2 * (X[:, 1] > 0).long()
DATA = TensorDataset(X, Y)


class Named(nn.Module):
    """A network with named inputs, as a Hugging Face model has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, *, pixels: torch.Tensor) -> dict[str, torch.Tensor] | torch.Tensor:
        return self.layer(pixels)


def network(kind: type[nn.Module] | None = None) -> nn.Module:
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        if kind is not None:
            return kind()
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def trainer(folder: Path, **options: Any) -> Any:
    return L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        **{"enable_checkpointing": False, "default_root_dir": folder, **options},
    )  # fmt: skip


def by_hand(epochs: int, *, accumulate: int = 1, method: Any = METHOD) -> nn.Module:
    """The same training as a plain loop."""
    model, loader = network(), DataLoader(DATA, batch_size=16)
    objective = method.bind(model, HW, seed=0, sample=X[:2], steps=epochs * len(loader) // accumulate)
    optimizer = sgd(objective.parameters())
    for _ in range(epochs):
        for batch, (x, y) in enumerate(loader):
            (objective(x, y) / accumulate).backward()
            if (batch + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
                objective.after_step()
    return model


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", [METHOD, ec.methods.IRS(beta=0.1, hidden=8)], ids=lambda m: m.kind)
def test_lightning_trains_as_a_plain_loop_does_to_the_bit(
    method: Any, accumulate: int, tmp_path: Path
) -> None:
    module = ChipModule(network(), method, HW, sample=X[:2], optimizer=sgd)
    run = trainer(tmp_path, max_epochs=3, accumulate_grad_batches=accumulate)
    run.fit(module, DataLoader(DATA, batch_size=16), DataLoader(DATA, batch_size=32))
    assert module.bound.step == run.global_step == 12 // accumulate
    expected = by_hand(3, accumulate=accumulate, method=method).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in module.detach().state_dict().items())
    logged = run.callback_metrics
    draws = ec.evaluate(module.detach(), HW, (X, Y), chips=4, seed=0, purpose="validate")
    assert float(logged["val_accuracy"]) == pytest.approx(float(draws.accuracy.mean()))
    assert float(logged["val_loss"]) == pytest.approx(float(draws.nll.mean()), abs=1e-5)
    right = (module.detach()(X).argmax(1) == Y).float().mean()
    assert float(logged["val_accuracy_digital"]) == pytest.approx(float(right))


def test_another_task_is_trained_by_its_loss_and_validated_by_its_score(tmp_path: Path) -> None:
    values = X[:, :1] * 2 + 1
    loader = DataLoader(TensorDataset(X, values), batch_size=16)
    module = ChipModule(
        nn.Linear(8, 1), "noise_injection", HW, optimizer=sgd, task="regression",
    )  # fmt: skip
    run = trainer(tmp_path, max_epochs=10)
    run.fit(module, loader, loader)
    name = module.task.headline.name
    draws = ec.evaluate(
        module.detach(), HW, (X, values), chips=4, seed=0, purpose="validate", task="regression"
    )
    assert float(run.callback_metrics[f"val_{name}"]) == pytest.approx(float(draws.values.mean()), rel=1e-4)


def test_a_resumed_training_ends_as_the_one_that_was_not_stopped(tmp_path: Path) -> None:
    loader = DataLoader(DATA, batch_size=16)
    method = ec.methods.IRS(beta=0.1, hidden=8, ramp=1.0)

    def module() -> ChipModule:
        return ChipModule(network(), method, HW, sample=X[:2], optimizer=sgd, steps=16)

    whole = module()
    trainer(tmp_path, max_epochs=4).fit(whole, loader)
    saved = L.pytorch.callbacks.ModelCheckpoint(dirpath=tmp_path, save_last=True, every_n_train_steps=2)
    trainer(tmp_path, max_epochs=2, callbacks=[saved], enable_checkpointing=True).fit(module(), loader)
    resumed = module()
    trainer(tmp_path, max_epochs=4).fit(resumed, loader, ckpt_path=str(tmp_path / "last.ckpt"))
    assert resumed.bound.step == whole.bound.step == 16
    expected = whole.state_dict()
    found = resumed.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_dict_batches_reach_a_model_with_named_inputs(tmp_path: Path) -> None:
    rows = [{"pixels": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    module = ChipModule(network(Named), "noise_injection", HW, optimizer=sgd)
    trainer(tmp_path, max_epochs=5).fit(
        module, DataLoader(rows, batch_size=16), DataLoader(rows, batch_size=32)
    )  # type: ignore[arg-type]
    pairs = ChipModule(network(Named), "noise_injection", HW, optimizer=sgd)
    as_pairs = [({"pixels": x}, y) for x, y in zip(X, Y, strict=True)]
    trainer(tmp_path, max_epochs=5).fit(pairs, DataLoader(as_pairs, batch_size=16))  # type: ignore[arg-type]
    assert torch.equal(module.model.layer.weight, pairs.model.layer.weight)
    assert not torch.equal(module.model.layer.weight, network(Named).layer.weight)


def test_bfloat16_trains(tmp_path: Path) -> None:
    module = ChipModule(network(), METHOD, HW, optimizer=sgd)
    dtypes: list[torch.dtype] = []
    module.model[0].register_forward_hook(lambda m, x, y: dtypes.append(y.dtype))
    trainer(tmp_path, max_epochs=5, precision="bf16-mixed").fit(module, DataLoader(DATA, batch_size=16))
    assert set(dtypes) == {torch.bfloat16}
    assert module.model[0].weight.dtype == torch.float32
    assert ec.evaluate(module.detach(), HW, (X, Y), chips=4).accuracy.mean() > 0.4


class Own(L.LightningModule):
    """Somebody's own module around an objective."""

    def __init__(self) -> None:
        super().__init__()
        self.objective = METHOD.bind(network(), HW, seed=0, steps=12)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss: torch.Tensor = self.objective(*batch)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return sgd(self.objective.parameters())


def test_the_callback_serves_a_module_of_one_s_own(tmp_path: Path) -> None:
    module = Own()
    trainer(tmp_path, max_epochs=3, callbacks=[AfterStep()]).fit(module, DataLoader(DATA, batch_size=16))
    expected = by_hand(3).state_dict()
    assert all(torch.equal(v, expected[n]) for n, v in module.objective.detach().state_dict().items())


@pytest.mark.parametrize("callbacks", [[], [AfterStep()]], ids=["forgotten", "called"])
def test_a_module_that_forgets_after_step_is_warned(callbacks: list[Any], tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, max_epochs=1, callbacks=callbacks).fit(Own(), DataLoader(DATA, batch_size=16))
    said = [one for one in caught if "objective.after_step()" in str(one.message)]
    assert len(said) == (0 if callbacks else 1)
