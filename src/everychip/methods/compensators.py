"""Error compensation: small digital layers beside a frozen network that correct what its chips get wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

from everychip.config.arguments import a, index, number, takes
from everychip.errors import ConfigError, ModelError
from everychip.exits.survey import Site, survey
from everychip.hardware.arguments import MODEL
from everychip.hardware.hardware import Hardware
from everychip.network.modes import hooks_called
from everychip.rng import seeded_global_generator

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_POOLS: dict[int, Any] = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
NAME = "compensators"


@takes(
    model=MODEL,
    sample=a(Tensor, "a batch of inputs, a tensor"),
    ratio=number(above=0),
    seed=index,
)
def compensate(
    model: nn.Module,
    sample: Tensor,
    *,
    where: Sequence[str] | None = None,
    ratio: float = 0.25,
    seed: int = 0,
) -> Compensated:
    """Freeze a trained model and give its layers digital compensators, which a second training fills.

    h' = h + B·ReLU(A·[h; x̄] + a) + b at every output h of a layer: A and B are 1×1 convolutions, x̄ the
    layer's input, average-pooled to the size of h. Features without space have linear A and B, and no x̄,
    which would make A large. B and b start at zero, so that nothing changes at first. where: names of linear
    and convolution layers; None is all but the last. ratio: the inner width over the channels of h. sample:
    a batch as the model takes it. Then `fit(corrected, NoiseInjection(), …, hardware=corrected.digital(hw))`.
    Cost: that of the second training, and two forwards of two and three inputs here; `Compensated.overhead`
    is what the layers add.

    Cost: a second training beside the model's own, of 1 forward per step with `NoiseInjection`, and the
    compensators' in it; backward goes through the frozen layers too, but no weight of theirs has a gradient.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        sample: a batch as the model takes it.
        where: names of linear and convolution layers; None, all but the last.
        ratio: the inner width over the channels of h.
        seed: of all draws, a whole number.

    Returns:
        The model with its compensators; train it with `fit(corrected, NoiseInjection(), …,
            hardware=corrected.digital(hw))`.

    Source: after the second stage of Eldebiky et al., CorrectNet, DATE 2023, arXiv 2211.14917, which also
    searches the places; the form of A and B is this project's.

    >>> import torch, everychip as ec
    >>> net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> corrected = compensate(net, torch.ones(2, 6))
    >>> hw = corrected.digital(ec.Hardware(device=ec.devices.Gaussian(sigma=0.1)))
    >>> list(hw.crossbar(corrected)), [n for n, p in corrected.named_parameters() if p.requires_grad][:1]
    (['0.weight', '2.weight'], ['compensators.0.squeeze.weight'])
    """
    wanted = None if where is None else _once(where)
    seen = survey(model, sample)
    layers = [n for n, m in model.named_modules() if isinstance(m, _LAYERS) and n in seen.sites]
    names = layers[:-1] if wanted is None else wanted
    for name in names or [""]:
        if name not in layers:
            raise ModelError(
                name or type(model).__name__,
                found="no layer that can be compensated here",
                expected=f"linear and convolution layers that are called: {', '.join(layers) or 'none'}",
            )
    with seeded_global_generator(seed, NAME):
        made = [Compensator(model.get_submodule(n), seen.sites[n], ratio=ratio) for n in names]
    return Compensated(model, dict(zip(names, made, strict=True)))


def _once(where: Any) -> list[Any]:
    names = list(where) if isinstance(where, Iterable) and not isinstance(where, str | bytes) else None
    twice = [name for n, name in enumerate(names or ()) if name in (names or ())[:n]]
    if names is None or twice:
        raise ConfigError(
            "compensate.where",
            found=f"{twice[0]!r} twice" if twice else repr(where),
            expected='a list of names of layers, each once, as in ["0", "2"]',
        )
    return names


class Compensated(nn.Module):
    """A frozen model whose layers' outputs pass through digital compensators.

    Its parameters keep their names, so it has the same chips as the model alone; it shares the model's own
    tensors, and only the compensators are trained. Batch norm stays in evaluation mode.
    """

    def __init__(self, model: nn.Module, compensators: Mapping[str, Compensator]) -> None:
        super().__init__()
        if NAME in dict(model.named_children()):
            raise ModelError(type(model).__name__, found="that it has compensators already")
        # Shared dictionaries: whatever replaces a tensor in one (a chip, .to()) replaces it in both.
        for kept in ("_parameters", "_buffers", "_non_persistent_buffers_set"):
            object.__setattr__(self, kept, getattr(model, kept))
        for name, child in model.named_children():
            self.add_module(name, child)
        object.__setattr__(self, "_model", model.requires_grad_(False).eval())
        self.places = tuple(compensators)
        # By number, because a module may be called "keys" and ModuleDict has such a method.
        self.compensators = nn.ModuleList(compensators.values())

    _model: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own output, with every compensated layer corrected on the way."""
        with self._corrected():
            return self._model(*args, **kwargs)

    def digital(self, hardware: Hardware) -> Hardware:
        """The same hardware with the compensators kept digital."""
        return hardware.replace(digital=(*hardware.digital, NAME))

    @property
    def overhead(self) -> float:
        """The compensators' parameters over the model's."""
        added = sum(p.numel() for p in self.compensators.parameters())
        return added / sum(p.numel() for p in self._model.parameters())

    def train(self, mode: bool = True) -> Self:
        """Training mode for the compensators only."""
        super().train(mode)
        self._model.eval()
        return self

    @contextmanager
    def _corrected(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(hooks_called())
            for name, compensator in zip(self.places, self.compensators, strict=True):
                hook = self._model.get_submodule(name).register_forward_hook(_correcting(compensator))
                stack.callback(hook.remove)
            yield


class Compensator(nn.Module):
    """h + B·ReLU(A·[h; x̄] + a) + b along the channels of one layer."""

    def __init__(self, layer: nn.Module, site: Site, *, ratio: float) -> None:
        super().__init__()
        self.site = site
        inputs = getattr(layer, "in_channels", getattr(layer, "in_features", 0)) if site.spatial else 0
        self.reads_input, width = inputs > 0, max(1, round(ratio * site.channels))
        place: dict[str, Any] = {"device": site.device, "dtype": site.dtype}
        self.squeeze = nn.Linear(site.channels + inputs, width, **place)
        self.expand = nn.Linear(width, site.channels, **place)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """The corrected output of a layer, in the layout of h, from its input and its output."""
        features = self.site.arrange(h)
        if self.reads_input:
            seen, size = self.site.arrange(x), features.shape[2:]
            pooled = seen if seen.shape[2:] == size else _POOLS[len(size)](seen, size)
            features = torch.cat([features, pooled], dim=1)
        # A 1×1 convolution is a linear layer along the channels.
        correction = self.expand(torch.relu(self.squeeze(features.movedim(1, -1))))
        if not self.site.features_last:
            correction = correction.movedim(-1, 1)
        corrected: Tensor = h + correction.movedim(0, self.site.batch_axis)
        return corrected


def _correcting(compensator: nn.Module) -> Any:
    def hook(_module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        corrected: Tensor = compensator(args[0], output)
        return corrected

    return hook
