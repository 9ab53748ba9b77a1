"""A GPT-2 of any size, as Hugging Face transformers builds it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Self

from pydantic import Field, model_validator
from torch import nn

from everychip.errors import MissingExtraError, ModelError
from everychip.models.base import Model


class GPT2(Model, kind="gpt2"):
    """GPT-2 from its configuration, with fresh weights: a language model of tokens [n, t], logits [n, t, c].

    width: of the embeddings. depth: how many blocks. heads: of attention in each. positions: the longest
    sequence; absent, that of the data. tied: whether the output is the embedding's own matrix, as published;
    if not, the embedding is a table that is looked up digitally and the output a layer of its own. spread:
    the standard deviation of fresh weights. dropout: of embeddings, attention and blocks.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019; transformers'
    `GPT2LMHeadModel`.

    >>> net = GPT2(width=16, depth=1).build((8,), 96)
    >>> sum(p.numel() for p in net.parameters()) == 2 * 96 * 16 + 8 * 16 + 12 * 16**2 + 13 * 16 + 2 * 16
    True
    """

    width: int = Field(default=48, ge=1, le=65_536)
    depth: int = Field(default=2, ge=1, le=1_000)
    heads: int = Field(default=2, ge=1, le=65_536)
    positions: int | None = Field(default=None, ge=1, le=1_000_000)
    tied: bool = False
    spread: float = Field(default=0.1, gt=0, le=10)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads must divide width: {self.heads} do not share {self.width} features")
        return self

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network for sequences of so many tokens out of `classes`."""
        if find_spec("transformers") is None:
            raise MissingExtraError("model.gpt2", "transformers")
        if len(input_shape) != 1:
            raise ModelError(
                "model.gpt2", found=f"inputs of shape {list(input_shape)}", expected="token numbers [t]"
            )
        from transformers import GPT2Config, GPT2LMHeadModel

        dropout = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), self.dropout)
        network: nn.Module = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=classes,
                n_positions=self.positions or input_shape[0],
                n_embd=self.width,
                n_layer=self.depth,
                n_head=self.heads,
                initializer_range=self.spread,
                tie_word_embeddings=self.tied,
                use_cache=False,
                bos_token_id=None,
                eos_token_id=None,
                **dropout,
            )
        )
        return network
