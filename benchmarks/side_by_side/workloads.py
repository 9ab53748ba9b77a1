"""What every peer is given: the same networks and inputs, and the words in which it answers the driver."""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

Work = Callable[[], object]
Made = Callable[[], Work]
"""What makes the work when it is first wanted, so that a process holds no more than it is asked for."""
SIGMA = 0.1
"""The standard deviation of weight noise in units of max|W|, where a peer is given it directly."""
TINY = "--tiny"
"""Four images in training and eight in an evaluation, to see that everything runs."""


@dataclass(frozen=True)
class Workload:
    """A network, its batch in training, and the images of an evaluation, in batches of at most 500."""

    name: str
    shape: tuple[int, ...]
    batch: int
    images: int
    channels_last: bool

    def network(self) -> nn.Module:
        """Fresh weights of seed 0, in the memory format in which the plain network is faster."""
        import everychip as ec

        models = {
            "vgg8-16": ec.models.VGG8(width=16),
            "vgg8-64": ec.models.VGG8(width=64),
            "resnet18-16": ec.models.ResNet18(width=16),
            "transformer": ec.models.Transformer(patch=4),
            "mlp": ec.models.MLP(),
        }
        return self.formatted(models[self.name].build(self.shape, 10, seed=0))

    def formatted(self, model: nn.Module) -> nn.Module:
        """The network in the memory format of this workload."""
        if self.channels_last:
            return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
        return model

    def one_batch(self) -> tuple[Tensor, Tensor]:
        """A batch of training."""
        x, y = self._some(self.batch)
        return self._placed(x), y

    def test(self) -> tuple[Tensor, Tensor]:
        """All images of the evaluation."""
        return self._some(self.images)

    def batches(self) -> list[Tensor]:
        """The same in batches, as the plain pass takes them."""
        return [self._placed(x) for x in torch.split(self.test()[0], 500)]

    def _placed(self, x: Tensor) -> Tensor:
        return x.to(memory_format=torch.channels_last) if self.channels_last else x

    def _some(self, n: int) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(n)
        return torch.randn(n, *self.shape, generator=rng), torch.randint(10, (n,), generator=rng)


WORKLOADS = {
    one.name: one
    for one in (
        Workload("vgg8-16", (1, 32, 32), batch=128, images=500, channels_last=True),
        Workload("vgg8-64", (1, 32, 32), batch=32, images=100, channels_last=True),
        Workload("resnet18-16", (3, 32, 32), batch=64, images=250, channels_last=True),
        Workload("transformer", (1, 28, 28), batch=128, images=500, channels_last=False),
        Workload("mlp", (1, 28, 28), batch=128, images=2000, channels_last=False),
    )
}


def compiled(model: nn.Module) -> nn.Module:
    """The network as `torch.compile` runs it; of a trial, through its front end alone, which is quick."""
    model.compile(backend="eager" if TINY in sys.argv else "inductor")
    return model


def step(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Work:
    """An ordinary PyTorch step."""
    model.train()

    def work() -> None:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return work


def forward(model: nn.Module, batches: list[Tensor]) -> Work:
    """A pass over the test images."""

    def work() -> None:
        model.eval()
        with torch.no_grad():
            for x in batches:
                model(x)

    return work


def serve(works: Callable[[Workload], dict[str, Made]]) -> None:
    """Answer the driver: its works; then, for each line that names one, the CPU seconds of a repetition."""
    torch.set_num_threads(1)
    imported = time.process_time()
    name, *options = sys.argv[1:]
    load = WORKLOADS[name]
    found = works(replace(load, batch=4, images=8) if TINY in options else load)
    made: dict[str, Work] = {}
    _say({"works": list(found), "import": imported})
    for line in sys.stdin:
        name = json.loads(line)
        if name not in made:
            made[name] = found[name]()
            made[name]()  # the first repetition pays for what is made once
        gc.collect()
        _say({"seconds": _seconds(made[name]), "peak": _peak()})


def _seconds(work: Work) -> float:
    """CPU time of one repetition, of as many as take a tenth of a second."""
    times, started = 0, time.process_time()
    while (spent := time.process_time() - started) < 0.1:
        work()
        times += 1
    return spent / times


def _peak() -> float:
    """Peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _say(facts: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
