"""A network as ONNX with its noise card: what each of its matrices will suffer, and what came of it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from everychip import __version__
from everychip.errors import MissingExtraError, ModelError, StoreError
from everychip.evaluation.draws import Draws
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.network.modes import evaluating
from everychip.rng import seeded_global_generator
from everychip.statistics.verdict import Verdict
from everychip.storage.files import digest, make_folder, write_json, write_whole

FORMAT = "everychip-noise-card/1"
NETWORK, CARD, KEY = "network.onnx", "noise_card.json", "everychip.noise_card"
OLDEST = (2, 6)
SAME = 1e-4
"""Outputs of two implementations in float32 differ by less than this share of their largest."""


def save_onnx(
    model: nn.Module,
    hardware: Hardware,
    sample: Any,
    folder: str | Path,
    *,
    draws: Draws | Mapping[str, Draws] | None = None,
    note: str = "",
) -> Path:
    """Write the clean network as ONNX with its noise card, once both give the same outputs.

    The network in the file is the digital one: no noise is in it. The card says which initializer stands on
    which cells and how far off it will be, and what was measured of chips; it is in the file's metadata, too.

    Args:
        model: the network; it is left as it was.
        hardware: what its matrices will be programmed into.
        sample: a few inputs: a tensor [n, …], a tuple or a dict of them; n is free in the file.
        folder: a new folder, or one of an earlier export.
        draws: chips that were measured, or several by what tells them apart; their verdicts join the card.
        note: a sentence for the card.

    Returns:
        The folder, with network.onnx and noise_card.json.

    Raises:
        MissingExtraError: where the extra onnx is not installed.
        ModelError: where ONNX cannot say what the network does, or says something else.
    """
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise MissingExtraError("export.save_onnx", "onnx")
    if (found := _torch_version()) < OLDEST:
        raise StoreError(
            "export.save_onnx",
            found="PyTorch " + ".".join(map(str, found)),
            expected="2.6 or later, whose exporter keeps the parameters' names",
        )
    goal = Path(folder)
    if goal.exists() and not _is_ours(goal):
        words = "a folder or file of something else"
        raise StoreError(str(goal), found=words, expected="a new folder: -o DIR")
    args, named = _arguments(sample)
    with torch.no_grad(), evaluating(model), seeded_global_generator(0, "export"):
        expected, proto = model(*args, **named), _exported(model, args, named)
    largest = _difference(proto, (*args, *named.values()), expected)
    measured = {"": draws} if isinstance(draws, Draws) else dict(draws or {})
    verdicts = {name: one.verdict() for name, one in measured.items()}
    card = {**noise_card(model, hardware, proto, verdicts), "largest_difference": largest, "note": note}
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(card, ensure_ascii=False)
    make_folder(goal)
    write_whole(goal / NETWORK, lambda draft: _written(proto, draft))
    write_json(goal / CARD, {**card, "sha256": {NETWORK: digest(goal / NETWORK)}})
    return goal


def noise_card(
    model: nn.Module, hardware: Hardware, proto: Any, verdicts: Mapping[str, Verdict]
) -> dict[str, Any]:
    """What every parameter's place does to it, and the verdicts on chips, as plain values.

    Args:
        model: the network.
        hardware: what it is programmed into.
        proto: its ONNX model, whose initializers are compared with the parameters.
        verdicts: by name.

    Returns:
        Keys format, everychip, network, hardware, parameters and verdicts.
    """
    placed = Placed.of(model, hardware)
    sigma = {row.layer: row for row in placed.effective_sigma().layers} if placed.weights else {}
    known, rows = _initializers(proto), []
    for row in placed.rows:
        same = row.name in known and torch.equal(known[row.name], row.parameter.detach().cpu())
        noise = sigma.get(row.name)
        rms = float(row.parameter.detach().double().square().mean().sqrt())
        rows.append(
            {
                "initializer": row.name if same else None,
                "parameter": row.name,
                "shape": list(row.parameter.shape),
                "on_crossbar": row.crossbar,
                "why": row.why.value,
                "sigma_of_max": None if noise is None else noise.of_max,
                "sigma_of_rms": None if noise is None else noise.of_rms,
                "sigma": None if noise is None else noise.of_rms * rms,
            }
        )
    return {
        "format": FORMAT,
        "everychip": __version__,
        "network": type(model).__name__,
        "hardware": hardware.table(),
        "parameters": rows,
        "verdicts": {name: verdict.facts() for name, verdict in verdicts.items()},
    }


def _torch_version() -> tuple[int, ...]:
    return tuple(int(part) for part in torch.__version__.split(".")[:2])


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and ((folder / CARD).is_file() or not any(folder.iterdir()))


def _arguments(sample: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Positional and named inputs; two rows at least, for one is taken for a constant."""
    twice = [torch.cat([one, one])[:2] if len(one) == 1 else one[:2] for one in _tensors(sample)]
    if isinstance(sample, Mapping):
        return (), dict(zip(sample, twice, strict=True))
    return tuple(twice), {}


def _tensors(sample: Any) -> list[Tensor]:
    if isinstance(sample, Mapping):
        return list(sample.values())
    return list(sample) if isinstance(sample, tuple | list) else [sample]


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Inside, the exporter's advice to those who write exporters is not shown, nor what it logs of others."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _exported(model: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> Any:
    free = {0: torch.export.Dim("n")}
    shapes = tuple(free for _ in args) or dict.fromkeys(named, free)
    names = [*(["input"] if len(args) == 1 else []), *named]
    with _without_warnings():
        try:
            program = torch.onnx.export(
                model,
                args,
                kwargs=named,
                dynamo=True,
                verbose=False,
                optimize=False,  # which renames initializers and folds them
                dynamic_shapes=shapes,
                input_names=names or None,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise ModelError(
                type(model).__name__, found=f"a forward that ONNX cannot say ({first})", expected="one it can"
            ) from None
    return program.model_proto if program is not None else None


def _initializers(proto: Any) -> dict[str, Tensor]:
    from onnx.numpy_helper import to_array

    return {one.name: torch.from_numpy(to_array(one).copy()) for one in proto.graph.initializer}


def _difference(proto: Any, inputs: tuple[Tensor, ...], expected: Any) -> float:
    """The largest difference from the network's own output, over its largest; refused where large."""
    from onnx.reference import ReferenceEvaluator

    names = [one.name for one in proto.graph.input]
    given = {name: x.detach().cpu().numpy() for name, x in zip(names, inputs, strict=True)}
    with _without_warnings():
        found = ReferenceEvaluator(proto).run(None, given)
    pairs = zip(found, _outputs(expected), strict=False)
    share = max(
        float((torch.from_numpy(a) - b.cpu()).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in pairs
    )
    if not share <= SAME:
        raise ModelError(
            "export.save_onnx",
            found=f"outputs of the ONNX file that differ by {share:.1e} of the largest",
            expected="the network's own",
        )
    return share


def _outputs(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in _outputs(part)]


def _written(proto: Any, draft: Path) -> None:
    draft.write_bytes(proto.SerializeToString())
