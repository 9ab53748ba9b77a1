"""A network whose exits stay: it answers with a learned combination of all its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from everychip.data.inputs import Inputs, as_call
from everychip.errors import ConfigError, ModelError
from everychip.exits.dense import places_only, spread_like
from everychip.exits.heads import Exits, Init
from everychip.exits.positions import choose
from everychip.exits.survey import output_classes, survey
from everychip.network.outputs import logits
from everychip.network.soundness import device_of
from everychip.rng import seeded_global_generator

NEVER = 2.0
"""A threshold that no probability reaches."""


class MultiExit(nn.Module):
    """A classifier and its exits in one network, whose logits are z = Σ_{n=1..N} w_n·z_n + w_{N+1}·z_{N+1}.

    z_1 … z_N are the exits' logits, earliest first, z_{N+1} the classifier's own. The w_n are digital,
    learned, and 1/(N+1) at the start. The heads are AdaptiveAvgPool(pool) → Linear(hidden) → ReLU →
    Linear(classes), and stand on the crossbar like every other matrix; `Hardware(digital=("exits",))` keeps
    them digital. It is an ordinary module: every method trains it, and it is programmed, checked, exported
    and saved like any other.

    In evaluation an input leaves at the first exit n whose largest probability reaches `thresholds[n]`, with
    that exit's logits; the thresholds are 2, above every probability, unless a policy sets them
    (`everychip.policies.Early`), so that every input gets the combination.

    Args:
        model: the classifier; it becomes `backbone`, and is not copied.
        sample: a batch as the model takes it, [n, …]; it sizes the heads.
        where: "auto" (even shares of the compute), "paper" (the positions that the model's class names), or
            names of submodules; by default the paper's where it names some.
        count: the number of automatic exits.
        hidden: the width of each head's hidden layer.
        pool: the side that features are pooled to, one for all exits or one each.
        init: how the heads' linear layers start.
        seed: of the heads' start.
        axis: where the classes are in an output that has places, 1 of [n, classes, h, w], −1 of
            [n, t, classes]; the heads then answer at every place, and no input leaves early.

    Source: this project's own; exits as in Qin et al., arXiv 2305.14561, where they are dropped after
    training, and Teerapittayanon et al., BranchyNet, ICPR 2016, where they stay.

    >>> import torch
    >>> net = MultiExit(torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)),
    ...                 torch.ones(2, 8), where=["1"])
    >>> net(torch.ones(3, 8)).shape, net.combination.tolist()
    (torch.Size([3, 4]), [0.5, 0.5])
    """

    thresholds: Tensor

    def __init__(
        self,
        model: nn.Module,
        sample: Inputs,
        *,
        where: Literal["auto", "paper"] | Sequence[str] | None = None,
        count: int = 3,
        hidden: int = 32,
        pool: int | Sequence[int] = 2,
        init: Init = "default",
        seed: int = 0,
        axis: int | None = None,
    ) -> None:
        super().__init__()
        if isinstance(model, MultiExit):
            raise ModelError("MultiExit", found="a network that has exits", remedy="pass model.backbone")
        for name, value in (("count", count), ("hidden", hidden)):
            if value < 1:
                raise ModelError(f"MultiExit.{name}", found=str(value), expected="at least 1")
        surveyed = survey(model, sample)
        self.axis, classes = axis, None
        if axis is not None:
            surveyed, classes = places_only(model, surveyed, axis=axis)
        where = where or ("paper" if getattr(type(model), "exit_positions", None) else "auto")
        sites = choose(model, surveyed, where=where, count=count, pool=pool)
        self.backbone = model
        with seeded_global_generator(seed, "exits"):
            classes = classes or output_classes(model, surveyed)
            dense = axis is not None
            self.exits = Exits(sites, hidden=hidden, classes=classes, init=init, dense=dense)
        outputs = len(sites) + 1
        device = device_of(model)
        self.combination = nn.Parameter(torch.full((outputs,), 1 / outputs, device=device))
        self.register_buffer("thresholds", torch.full((outputs - 1,), NEVER, device=device))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load as any module does; earlier versions wrote ∞ for a threshold that no input reaches."""
        if (thresholds := state_dict.get(f"{prefix}thresholds")) is not None:
            state_dict = {**state_dict, f"{prefix}thresholds": thresholds.clamp(max=NEVER)}
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def all_logits(self, x: Any) -> Float[Tensor, "outputs images classes"]:
        """The logits of every output in one forward: the exits', earliest first, and the backbone's last.

        Args:
            x: inputs [batch, …].

        Returns:
            [outputs, images, classes], the earliest exit first, the backbone last.
        """
        with self.exits.tap(self.backbone) as taps:
            args, named = as_call(x)
            z = logits(self.backbone(*args, **named))
        exits = self.exits(taps)
        if self.axis is not None:
            exits = [spread_like(z_n, z, axis=self.axis) for z_n in exits]
        return torch.stack([*exits, z])

    def forward(self, *inputs: Any, **named: Any) -> Float[Tensor, "images classes"]:
        """The combined logits, or in evaluation those of the first exit that is sure enough."""
        outputs = self.all_logits(named or (inputs if len(inputs) > 1 else inputs[0]))
        combined = combine(outputs, self.combination)
        return (
            combined
            if self.training or self.axis is not None
            else leave_early(outputs, combined, self.thresholds)
        )


def multi_exit(model: nn.Module, *, where: str) -> MultiExit:
    """The network with exits that a model is, or an error that says how to make it one.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        where: what errors name.

    Returns:
        The same network, as what it is.

    >>> multi_exit(nn.Linear(2, 2), where="method.exit_loss")
    Traceback (most recent call last):
    everychip.errors.ConfigError: method.exit_loss: found a Linear without exits; expected ...
    """
    if isinstance(model, MultiExit):
        return model
    raise ConfigError(
        where,
        found=f"a {type(model).__name__} without exits",
        expected="a network with exits",
        remedy="give it some: everychip.MultiExit(model, sample), or "
        'model = { kind = "multi_exit", of = { … } } in a recipe',
    )


def combine(
    outputs: Float[Tensor, "outputs images classes"], weights: Float[Tensor, " outputs"]
) -> Float[Tensor, "images classes"]:
    """Σ_n w_n·z_n, in the precision of the weights where that is the finer one.

    >>> combine(torch.tensor([[[1.0, 0.0]], [[3.0, 2.0]]]), torch.tensor([0.5, 0.5]))
    tensor([[2., 1.]])
    """
    return (weights.view(-1, *(1,) * (outputs.ndim - 1)) * outputs).sum(dim=0)


def leave_early(
    outputs: Float[Tensor, "outputs images classes"],
    combined: Float[Tensor, "images classes"],
    thresholds: Float[Tensor, " exits"],
) -> Float[Tensor, "images classes"]:
    """Each image's logits at the first exit n with max softmax(z_n) ≥ τ_n; else the combined ones.

    >>> z = torch.tensor([[[9.0, 0.0], [0.1, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    >>> leave_early(z, z[1], torch.tensor([0.9]))
    tensor([[9., 0.],
            [0., 1.]])
    """
    answer = combined
    for n in reversed(range(len(thresholds))):
        leaves = outputs[n].float().softmax(-1).amax(-1, keepdim=True) >= thresholds[n]
        answer = torch.where(leaves, outputs[n].to(answer.dtype), answer)
    return answer
