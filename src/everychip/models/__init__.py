"""Networks of the papers and small ones for every kind of input; `Factory` takes any user's model."""

from __future__ import annotations

from everychip.models.base import Model
from everychip.models.causal_conv import CausalConv, CausalConvNetwork
from everychip.models.cnn import CNN, CNNNetwork
from everychip.models.conv_net import ConvNet, ConvNetNetwork
from everychip.models.factory import Factory
from everychip.models.gpt2 import GPT2
from everychip.models.gru import GRU, GRUNetwork
from everychip.models.lenet import LeNet, LeNetNetwork
from everychip.models.mlp import MLP
from everychip.models.pixelwise import Pixelwise
from everychip.models.resnet18 import ResNet18, ResNet18Network
from everychip.models.transformer import Transformer, TransformerNetwork
from everychip.models.vgg8 import VGG8, VGG8Network
from everychip.models.with_exits import WithExits

__all__ = [
    "CNN",
    "GPT2",
    "GRU",
    "MLP",
    "VGG8",
    "CNNNetwork",
    "CausalConv",
    "CausalConvNetwork",
    "ConvNet",
    "ConvNetNetwork",
    "Factory",
    "GRUNetwork",
    "LeNet",
    "LeNetNetwork",
    "Model",
    "Pixelwise",
    "ResNet18",
    "ResNet18Network",
    "Transformer",
    "TransformerNetwork",
    "VGG8Network",
    "WithExits",
]
