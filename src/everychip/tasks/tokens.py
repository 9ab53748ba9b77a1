"""Tokens: a label for each token of a sequence, or the next token itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from everychip.data import Examples, as_examples
from everychip.errors import DataError
from everychip.scores import ACCURACY, Score
from everychip.tasks.base import Task, full, refuse_shapes
from everychip.tasks.counting import NO_CLASS, count_right
from everychip.tasks.divergence import divergence
from everychip.tasks.segmentation import must_be_labels

_LOSS = Score("loss", higher_is_better=False, within=(0.0, math.inf), unit="nats")
_PERPLEXITY = Score("perplexity", higher_is_better=False, within=(1.0, math.inf))


class Tokens(Task):
    """Token classification, or with `causal` language modelling: logits [n, t, classes], labels [n, t].

    Loss: cross-entropy over all labelled tokens; perplexity = exp(loss). Tokens that an `attention_mask`
    among the inputs leaves out are not labelled. A token whose logits overflow is wrong, and makes loss and
    perplexity infinite. Chance: accuracy, the commonest label; loss and perplexity, the labels' entropy.

    causal: token i is scored by the logits of token i − 1; without labels the tokens are their own.
    ignore: the label of tokens that count for nothing.
    score: "accuracy", "loss" or "perplexity"; absent, accuracy, and of a causal one perplexity.

    torchmetrics counts the right answers. Its Perplexity is not used, and a test holds ours to it: it takes
    the logarithm of a probability in the precision of the logits, so one label that underflows to 0 makes it
    infinite, and it sums in that precision.

    Source: Jelinek et al., J. Acoust. Soc. Am. 62, S63 (1977); the convention of −100 and the shift are
    those of Hugging Face transformers.

    >>> meter = Tokens().meter()
    >>> meter.update(torch.zeros(1, 3, 4), torch.tensor([[0, 2, -100]]))
    >>> {name: round(value, 3) for name, value in meter.compute().items()}
    {'accuracy': 0.5, 'loss': 1.386, 'perplexity': 4.0}
    """

    causal: bool = False
    ignore: int = -100

    scores: ClassVar[tuple[Score, ...]] = (ACCURACY, _LOSS, _PERPLEXITY)
    class_axis: ClassVar[int | None] = -1
    smooths: ClassVar[bool] = True

    @property
    def headline(self) -> Score:
        """Accuracy, or of a causal task perplexity, unless a score is named."""
        return _PERPLEXITY if self.causal and self.score is None else super().headline

    def examples(self, data: Any, *, split: str | None) -> Examples:
        """Inputs with labels; those that an attention mask leaves out are not labelled."""
        found = as_examples(data, split=split, labelled=not self.causal)
        return Examples(found.x, self.labels(found.x, found.y))

    def labels(self, x: Any, y: Any) -> Any:
        """The labels of a batch: its own, or the tokens of a causal one, without what is masked out.

        Args:
            x: inputs, or a dict of them with `attention_mask`.
            y: labels [n, t], or None.

        Returns:
            Labels [n, t], with `ignore` where nothing is asked.
        """
        if y is None:
            y = (x.get("input_ids") if isinstance(x, Mapping) else x) if self.causal else None
            if not isinstance(y, Tensor):
                raise DataError("y", found="no labels", expected="a label for every token, [n, t]")
        mask = x.get("attention_mask") if isinstance(x, Mapping) else None
        if isinstance(mask, Tensor) and isinstance(y, Tensor) and mask.shape == y.shape:
            y = torch.where(mask.bool(), y, torch.full_like(y, self.ignore))
        return y

    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """A label below the number of classes for every token."""
        if not isinstance(y, Tensor) or answer.ndim != 3 or answer.shape[:2] != y.shape:
            raise refuse_shapes(answer, y, expected="labels [n, t] for logits [n, t, classes]")
        must_be_labels(y if every is None else every, answer.shape[-1], ignore=self.ignore)

    def loss(self, answer: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy over the labelled tokens."""
        z, labels = self._flat(answer, y)
        z = z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
        return F.cross_entropy(z, labels, ignore_index=self.ignore, label_smoothing=label_smoothing)

    def divergence(self, true: Tensor, other: Tensor, y: Any = None, *, temperature: float = 1.0) -> Tensor:
        """KL of the classes, the mean over the tokens that are scored; without labels, over all."""
        if y is None:
            return divergence(true, other, temperature=temperature)
        (t, labels), (z, _) = (self._flat(answer, y) for answer in (true, other))
        kept = labels != self.ignore
        return divergence(t[kept], z[kept], temperature=temperature)

    def _flat(self, answer: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.causal:
            answer, y = answer[:, :-1], y[:, 1:]
        return answer.reshape(-1, answer.shape[-1]), y.reshape(-1).long()

    def meter(self) -> _Counts:
        """Counts and sums over tokens, no logits kept."""
        return _Counts(self)

    def chance(self, y: Tensor) -> float:
        """What the frequencies of the labels give away."""
        labels = (y[:, 1:] if self.causal else y).reshape(-1)
        share = torch.bincount(labels[labels != self.ignore].long()).double()
        share = share[share > 0] / share.sum()
        entropy = float(-(share * share.log()).sum())
        known = {"accuracy": float(share.max()), "loss": entropy, "perplexity": math.exp(entropy)}
        return known[self.headline.name]

    def outputs(self, y: Tensor) -> int:
        """The number of labels, or of tokens."""
        return int(y[y != self.ignore].max()) + 1


class _Counts:
    def __init__(self, task: Tokens) -> None:
        self.task, self.n, self.right, self.nats = task, 0, 0, 0.0

    def update(self, answer: Tensor, y: Tensor) -> None:
        z, labels = self.task._flat(full(answer), y)
        kept = labels != self.task.ignore
        z, labels = z[kept], labels[kept]
        broken = z.log_softmax(-1).isnan().any(-1)
        nats = F.cross_entropy(z, labels, reduction="none").double().masked_fill(broken, math.inf)
        self.n += len(labels)
        self.right += count_right(z.argmax(-1).masked_fill(broken, NO_CLASS), labels)
        self.nats += float(nats.sum())

    def compute(self) -> dict[str, float]:
        mean = self.nats / max(self.n, 1)
        # Above 700 nats a double has no exp.
        perplexity = math.exp(mean) if mean < 700 else math.inf
        return {"accuracy": self.right / max(self.n, 1), "loss": mean, "perplexity": perplexity}
