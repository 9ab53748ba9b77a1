"""Hugging Face's Trainer, the real library, on a tiny ViT: dict batches, accumulation, resumption, bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everychip as ec
from everychip.errors import StoreError

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from everychip.doors.huggingface import AfterStep, ChipTrainer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
METHOD = ec.methods.NoiseInjection(ramp=0.5, constraint=ec.constraints.clip(2.0))
X = torch.randn(32, 1, 8, 8, generator=ec.rng_for(0, "x"))
Y = (X.mean((1, 2, 3)) > 0).long()
ROWS = [{"pixel_values": x, "labels": y} for x, y in zip(X, Y, strict=True)]


def vit() -> Any:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=8, patch_size=4, num_channels=1, num_labels=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        return transformers.ViTForImageClassification(config)


def arguments(folder: Path, **options: Any) -> Any:
    common: dict[str, Any] = {
        "output_dir": str(folder), "per_device_train_batch_size": 8, "num_train_epochs": 2, "use_cpu": True,
        "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no",
        "learning_rate": 1e-2, "optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0,
        "train_sampling_strategy": "sequential",
    }  # fmt: skip
    return transformers.TrainingArguments(**{**common, **options})


def accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())}


def trainer(folder: Path, method: Any = METHOD, **options: Any) -> ChipTrainer:
    return ChipTrainer(
        vit(), arguments(folder, **options), method=method, hardware=HW,
        train_dataset=ROWS, eval_dataset=ROWS, compute_metrics=accuracy,
    )  # fmt: skip


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


WITH_EXITS = ec.methods.IRS(beta=0.1, hidden=8, ramp=1.0)


@pytest.mark.parametrize("method", [METHOD, WITH_EXITS], ids=lambda m: m.kind)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_trainer_trains_as_a_plain_loop_does_to_the_bit(
    accumulate: int, method: Any, tmp_path: Path
) -> None:
    run = trainer(tmp_path, method, gradient_accumulation_steps=accumulate)
    run.train()
    model = vit().train()
    objective = method.bind(model, HW, seed=42, sample=X[:2], steps=8 // accumulate)
    optimizer = torch.optim.SGD(objective.parameters(), lr=1e-2)
    for _ in range(2):
        for batch in range(4):
            rows = slice(8 * batch, 8 * batch + 8)
            (objective(X[rows], Y[rows]) / accumulate).backward()
            if (batch + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
                objective.after_step()
    assert run.objective is not None
    assert run.objective.step == run.state.global_step == 8 // accumulate
    assert same(run.objective, objective)
    assert not same(run.model, vit())


def test_evaluation_during_training_is_on_chips_and_beside_it_digital(tmp_path: Path) -> None:
    run = trainer(tmp_path, eval_strategy="epoch")
    run.train()
    rows = [row for row in run.state.log_history if "eval_accuracy" in row]
    assert len(rows) == 2
    draws = ec.evaluate(Logits(run.model), HW, (X, Y), chips=4, seed=42, purpose="validate")
    assert rows[-1]["eval_accuracy"] == pytest.approx(float(draws.accuracy.mean()))
    assert rows[-1]["eval_loss"] == pytest.approx(float(draws.nll.mean()), abs=1e-5)
    with torch.no_grad():
        digital = (run.model.eval()(X).logits.argmax(1) == Y).float().mean()
    assert rows[-1]["eval_digital_accuracy"] == pytest.approx(float(digital))
    assert run.predict(ROWS).metrics["test_accuracy"] == pytest.approx(float(digital))


class Logits(nn.Module):
    """The ViT as a model of tensors; a wrapper's prefix is stripped, so its chips are the same."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> Any:
        return self.module(x).logits


RESUMES = pytest.mark.skipif(
    tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6),
    reason="transformers itself refuses to read a Trainer's checkpoint with PyTorch below 2.6",
)


@RESUMES
@pytest.mark.slow
@pytest.mark.parametrize("method", [METHOD, WITH_EXITS], ids=lambda m: m.kind)
def test_a_resumed_training_ends_as_the_one_that_was_not_stopped(method: Any, tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", method, save_strategy="steps", save_steps=3)
    whole.train()
    resumed = trainer(tmp_path / "again", method)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert resumed.objective is not None
    assert whole.objective is not None
    assert resumed.objective.step == whole.objective.step == 8
    assert same(resumed.objective, whole.objective)


@RESUMES
@pytest.mark.slow
def test_learned_ranges_are_trained_without_weight_decay_and_resumed_to_the_bit(tmp_path: Path) -> None:
    hw = HW.replace(array=ec.Array(dac_bits=4))
    method = ec.methods.NoiseInjection(inputs=ec.methods.LearnedInputs(start=1.0))

    def made(folder: Path, **options: Any) -> ChipTrainer:
        how = arguments(folder, weight_decay=0.1, max_steps=6, **options)
        return ChipTrainer(vit(), how, method=method, hardware=hw, train_dataset=ROWS)

    whole = made(tmp_path / "whole")
    whole.train()
    decayed = {id(p): g["weight_decay"] for g in whole.optimizer.param_groups for p in g["params"]}
    assert whole.objective is not None and whole.objective.learned is not None
    assert {decayed[id(p)] for p in whole.objective.learned.parameters()} == {0.0}
    made(tmp_path / "stopped", save_strategy="steps", save_steps=3).train()
    resumed = made(tmp_path / "stopped")
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-3"))
    assert resumed.objective is not None and resumed.objective.deployed == whole.objective.deployed
    assert whole.objective.deployed.array.dac_ranges
    assert same(whole.model, resumed.model)


def test_a_checkpoint_without_the_objective_is_refused_in_one_line(tmp_path: Path) -> None:
    run = trainer(tmp_path, save_strategy="steps", save_steps=3)
    run.train()
    place = tmp_path / "checkpoint-3" / "everychip.safetensors"
    with pytest.raises(StoreError, match="another method"):
        trainer(tmp_path, ec.methods.IRS(hidden=8)).train(resume_from_checkpoint=str(place.parent))
    place.unlink()
    with pytest.raises(StoreError, match="resume from a checkpoint of ChipTrainer"):
        trainer(tmp_path).train(resume_from_checkpoint=str(place.parent))


def test_bfloat16_trains(tmp_path: Path) -> None:
    run = trainer(tmp_path, bf16=True, eval_strategy="epoch")
    dtypes: set[torch.dtype] = set()
    run.model.classifier.register_forward_hook(lambda m, x, y: dtypes.add(y.dtype))
    run.train()
    assert torch.bfloat16 in dtypes
    assert not same(run.model, vit())


def test_the_callback_serves_a_trainer_of_one_s_own(tmp_path: Path) -> None:
    model = vit()
    objective = METHOD.bind(model, HW, seed=42, steps=8)

    class Own(transformers.Trainer):  # type: ignore[misc,name-defined]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
            labels = inputs.pop("labels")
            loss: torch.Tensor = objective(inputs, labels)
            return loss

    Own(model, arguments(tmp_path), train_dataset=ROWS, callbacks=[AfterStep(objective)]).train()
    run = trainer(tmp_path)
    run.train()
    assert objective.step == 8
    assert same(model, run.model)


def test_the_best_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    """Transformers 5.23 renames a ViT's weights when it writes them, and misses them when it reads them."""
    run = trainer(
        tmp_path, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2,
        load_best_model_at_end=True, metric_for_best_model="eval_accuracy", learning_rate=0.3,
    )  # fmt: skip
    weights: dict[int, Any] = {}

    class Keep(transformers.TrainerCallback):  # type: ignore[misc,name-defined]
        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            weights[state.global_step] = {n: t.clone() for n, t in run.model.state_dict().items()}

    run.add_callback(Keep())
    run.train()
    best = weights[int(str(run.state.best_model_checkpoint).rpartition("-")[2])]
    assert all(torch.equal(value, best[name]) for name, value in run.model.state_dict().items())


def bert(kind: str) -> Any:
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        return getattr(transformers, f"BertFor{kind}")(config)


@pytest.mark.parametrize(
    ("kind", "task", "method"),
    [("SequenceClassification", "classification", WITH_EXITS), ("TokenClassification", "tokens", METHOD)],
)
def test_several_named_inputs_reach_the_network_and_any_task_trains(
    kind: str, task: str, method: Any, tmp_path: Path
) -> None:
    ids = torch.randint(1, 20, (16, 6), generator=ec.rng_for(0, "ids"))
    mask = (torch.arange(6) < torch.arange(16)[:, None] % 4 + 3).long()
    labels = ids % 2 if task == "tokens" else ids[:, 0] % 2
    rows = [
        {"input_ids": i, "attention_mask": m, "labels": y} for i, m, y in zip(ids, mask, labels, strict=True)
    ]
    run = ChipTrainer(
        bert(kind), arguments(tmp_path, eval_strategy="epoch"), method=method, hardware=HW,
        train_dataset=rows, eval_dataset=rows, task=task,
    )  # fmt: skip
    masks: list[torch.Tensor] = []
    run.model.register_forward_pre_hook(
        lambda module, args, named: masks.append(named["attention_mask"]), with_kwargs=True
    )
    run.train()
    assert run.objective is not None
    assert run.objective.step == run.state.global_step == 4
    assert len(masks) >= 4
    assert all(found.shape[-1] == 6 and 0 < found.float().mean() < 1 for found in masks)
    assert not same(run.model, bert(kind))
