"""The trained network of a run: its recipe's model with the weights of its folder."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from everychip.data import Splits
from everychip.errors import StoreError
from everychip.study.experiment import Experiment


def trained_model(experiment: Experiment, weights: Path, *, splits: Splits | None = None) -> nn.Module:
    """Build the model of a recipe and load weights into it; splits: the recipe's data, if it is loaded."""
    data = splits or experiment.data.load()
    model = experiment.model.build(data.input_shape, data.classes, seed=experiment.seed)
    load_weights(model, weights)
    return model


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a safetensors file into a model of the same shapes."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, path)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise StoreError(
            str(path),
            found=f"weights that cannot be read ({error})",
            expected="the weights as they were written",
            remedy=f"delete the folder {path.parent} and run the recipe again",
        ) from None
