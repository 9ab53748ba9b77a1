"""SWIM's curvature: the diagonal of the loss's second derivatives, in one forward and one backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from everychip.errors import ModelError
from everychip.network.modes import evaluating

Step = Callable[[Tensor], Tensor]

_PRODUCTS = (nn.Linear, _ConvNd)
_SWITCHES = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, F.relu, F.relu_, torch.relu, "relu", "relu_")
_ROUTES = (
    *(nn.Flatten, nn.Unflatten, nn.Identity, _DropoutNd, _MaxPoolNd, _AdaptiveMaxPoolNd),
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, F.dropout, torch.flatten, torch.reshape),
    *("flatten", "reshape", "view", "contiguous", "squeeze", "unsqueeze", "permute", "transpose"),
)
_MEANS = (_AvgPoolNd, _AdaptiveAvgPoolNd)


def curvature(
    model: nn.Module, x: Float[Tensor, "images ..."], *, at_output: Step | None = None
) -> dict[str, Float[Tensor, ...]]:
    """SWIM's second derivative of the loss with respect to every weight, summed over images, by name.

    From the output to the input, products give H_in = H_out·W² and H_W = H_outᵀ·in²; ReLU and max-pooling let
    through where they let through; an average of n gives H_out/n²; batch norm H_out·(γ/√(var+ε))².
    at_output: logits → H at the logits; the default is that of cross-entropy, p·(1 − p).
    Second derivatives between different units are neglected, as in the paper.

    Source: Yan et al. (SWIM), DAC 2022, arXiv 2202.08395.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> curvature(layer, torch.tensor([[1.0, 3.0]]), at_output=torch.ones_like)
    {'weight': tensor([[1., 9.]])}
    """
    with evaluating(model), torch.no_grad():
        links, z = _forward(model, x)
        h = _of_cross_entropy(z) if at_output is None else at_output(z)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        sums: dict[str, Tensor] = {}
        for link in reversed(links):
            h, of_weight = link.backward(h)
            if of_weight is not None:
                name = names[id(link.module.weight)]  # type: ignore[union-attr]
                sums[name] = sums[name] + of_weight if name in sums else of_weight
    return sums


def _of_cross_entropy(z: Tensor) -> Tensor:
    p = z.softmax(dim=-1)
    return p * (1 - p)


@dataclass(frozen=True)
class _Link:
    """One operation of a chain: its rule, its input, and what it does to an input."""

    rule: str
    x: Tensor
    step: Step
    module: nn.Module | None

    def backward(self, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """The second derivatives at the input and, for a product, at the weight."""
        if self.rule == "product":
            return _through_product(self.module, self.x, h)
        if self.rule == "norm":
            return h * _scale_of(self.module, h).square(), None
        if self.rule == "mean":
            h = h / (self.x.numel() // h.numel())
        once = _pull_back(self.step, self.x, h)
        # A switch multiplies by its slope, which the second derivative meets twice.
        return (_pull_back(self.step, self.x, once) if self.rule == "switch" else once), None


def _pull_back(step: Step, x: Tensor, h: Tensor) -> Tensor:
    """The vector-Jacobian product of a step; a copy goes in, for the step may work in place."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(step(leaf.clone()), leaf, h)[0]


def _through_product(module: Any, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """A product is linear in either factor: with both squared, its gradients are H_out·W² and H_outᵀ·in²."""
    with torch.enable_grad():
        x2, w2 = x.detach().square().requires_grad_(), module.weight.detach().square().requires_grad_()
        parts = (
            {"weight": w2} if module.bias is None else {"weight": w2, "bias": torch.zeros_like(module.bias)}
        )
        h_in, h_weight = torch.autograd.grad(functional_call(module, parts, (x2,)), (x2, w2), h)
    return h_in, h_weight


def _scale_of(norm: Any, like: Tensor) -> Tensor:
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    return scale.reshape(1, -1, *[1] * (like.ndim - 2))


def _forward(model: nn.Module, x: Tensor) -> tuple[list[_Link], Tensor]:
    """Run a model that is one chain of operations, and keep them with their inputs."""
    try:
        recorder = _Recorder(fx.symbolic_trace(nn.Sequential(model)))
    except Exception as error:  # a model's own forward may fail on a tracer in any way
        raise _refused(f"a forward that depends on its data ({str(error).splitlines()[0]})") from error
    z = recorder.run(x.clone())
    return recorder.links, z


class _Recorder(fx.Interpreter):
    """Runs a traced model operation by operation and refuses what is no chain of known operations."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced, garbage_collect_values=False)
        self.extra_traceback = False
        self.links: list[_Link] = []
        self.last: fx.Node | None = None

    def run_node(self, node: fx.Node) -> Any:
        """The value of one operation, which has to continue the chain if it is a tensor."""
        value = super().run_node(node)
        if node.op == "placeholder" and self.last is None:
            self.last = node
        elif node.op == "output" and node.args != (self.last,):
            raise _refused("an output that is not the end of the chain")
        elif node.op.startswith("call_") and isinstance(value, Tensor):
            self._continue(node, value)
        return value

    def _continue(self, node: fx.Node, value: Tensor) -> None:
        sources = [source for source in node.all_input_nodes if isinstance(self.env[source], Tensor)]
        if sources != [self.last]:
            raise _refused(f"{_name(node)}, which joins or leaves the chain of layers")
        source, self.last = sources[0], node
        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        rule = _rule(module, node.target, self.env[source], value)
        if rule is None:
            raise _refused(_name(node) if module is None else f"{_name(node)} ({type(module).__name__})")
        self.links.append(_Link(rule, self.env[source], self._step(node, source), module))

    def _step(self, node: fx.Node, source: fx.Node) -> Step:
        env: Mapping[fx.Node, Any] = self.env

        def step(x: Tensor) -> Tensor:
            values = fx.node.map_arg((node.args, node.kwargs), lambda n: x if n is source else env[n])
            result: Tensor = getattr(self, node.op)(node.target, *values)
            return result

        return step


def _name(node: fx.Node) -> str:
    """The module as the model names it, or the function."""
    if node.op == "call_module":
        return str(node.target).removeprefix("0.")
    return str(getattr(node.target, "__name__", node.target))


def _rule(module: nn.Module | None, target: Any, x: Tensor, y: Tensor) -> str | None:
    """How second derivatives pass an operation, or None where SWIM does not say."""
    for rule, known in (("product", _PRODUCTS), ("switch", _SWITCHES), ("route", _ROUTES), ("mean", _MEANS)):
        classes = tuple(one for one in known if isinstance(one, type))
        if isinstance(module, classes) if module is not None else target in known:
            return rule if rule != "mean" or _even(module, x, y) else None
    return "norm" if isinstance(module, _BatchNorm) and module.running_var is not None else None


def _even(module: Any, x: Tensor, y: Tensor) -> bool:
    """Whether every output of an average pooling is the average of equally many inputs, each used once."""
    if any(n % k for n, k in zip(x.shape, y.shape, strict=True)) or getattr(module, "divisor_override", None):
        return False
    if isinstance(module, _AdaptiveAvgPoolNd):
        return True
    size = module.kernel_size
    area = math.prod(size) if isinstance(size, tuple) else size ** (x.ndim - 2)
    padding = module.padding
    padded = any(padding) if isinstance(padding, tuple) else padding != 0
    return not padded and area * y.numel() == x.numel()


def _refused(found: str) -> ModelError:
    return ModelError(
        "selective_write_verify.score",
        found=found,
        expected='one chain of linear layers, convolutions, ReLU, pooling and batch norm for "swim"',
        remedy='score = "fisher" takes any model',
    )
