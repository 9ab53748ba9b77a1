"""Networks of the papers and small ones for every kind of input; `Factory` takes any user's model."""

from __future__ import annotations

from everychip.models.base import Model
from everychip.models.lenet import LeNet, LeNetNetwork
from everychip.models.mlp import MLP
from everychip.models.vgg8 import VGG8, VGG8Network

__all__ = ["MLP", "VGG8", "LeNet", "LeNetNetwork", "Model", "VGG8Network"]
