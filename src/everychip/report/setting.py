"""What was tried, in a few lines above everything else: network, data, device, mapping, methods by name."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from everychip.hardware.hardware import Hardware
from everychip.methods import Method
from everychip.report.results import Results
from everychip.report.wording import count, listing, sigma_text, spread, time_text


def setting(results: Results) -> tuple[tuple[str, str], ...]:
    """Names and values that a reader needs before any number.

    Args:
        results: a run or a study.

    Returns:
        Pairs of what is told and the words, those that are known.
    """
    contexts = [group.context for group in results.groups]
    facts = {
        "network": _several(context.model for context in contexts),
        "data": _several(context.data for context in contexts),
        "device": _several(context.device for context in contexts) + _noise(results),
        "read": _times(results),
        "mapping": _several(_part(results.recipe, "mapping")),
        "array": _several(_part(results.recipe, "array")),
        "chips": _chips(results),
        "methods": _methods(results),
    }
    return tuple((name, words) for name, words in facts.items() if words)


def spelt_out(methods: Iterable[str]) -> dict[str, str]:
    """The full name of each method whose kind is made of its initials, as its own docstring begins.

    Args:
        methods: kinds of methods.

    Returns:
        Full names by kind; none of a kind that is no abbreviation.

    >>> spelt_out(["irs", "noise_injection", "ovf"])
    {'irs': 'intermediate representation snapshot', 'ovf': 'oriented variational forward'}
    """
    names = {kind: said.split(":")[0] for kind, said in described(methods).items()}
    initials = {kind: "".join(word[:1] for word in re.split(r"[ -]", name)) for kind, name in names.items()}
    return {kind: names[kind].lower() for kind in names if initials[kind].casefold() == kind}


def described(methods: Iterable[str]) -> dict[str, str]:
    """The first sentence of each method's docstring, by kind; none of a kind that is not installed.

    Args:
        methods: kinds of methods.

    Returns:
        One sentence a kind.
    """
    known = Method.kinds()
    kinds = (kind for kind in dict.fromkeys(methods) if kind in known)
    return {
        kind: " ".join((inspect.getdoc(known[kind]) or "").partition("\n\n")[0].split()) for kind in kinds
    }


def _several(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, words)))


def _noise(results: Results) -> str:
    """The nominal σ at which the device was tried, and what they come to."""
    if not results.sigmas:
        return ""
    low, high = results.sigmas[0], results.sigmas[-1]
    ends = sigma_text(low) if low == high else f"{sigma_text(low)}–{sigma_text(high)}"
    noise = spread(group.of_rms for group in results.groups if group.sigma is not None)
    return f", σ {ends} (σ_W/rms(W) {noise})"


def _times(results: Results) -> str:
    """When the chips of a device that ages were read, and at which time it was in training."""
    if not results.times:
        return ""
    first, last = time_text(results.times[0]), time_text(results.times[-1])
    read = f"{first} after programming" if first == last else f"{first} … {last} after programming"
    trained = sorted({run.trained_time for run in results.runs if run.trained_time is not None})
    return f"{read}; trained at {listing(map(time_text, trained))}" if trained else read


def _chips(results: Results) -> str:
    seeds = max(group.seeds for group in results.groups)
    chips = max(len(chips) for group in results.groups for chips in group.accuracy.values())
    if not results.trained:
        return f"{count(chips, 'chip')} of the network as it is"
    if seeds == 1 and len(results.groups) == len(results.sigmas or results.times or (None,)):
        return f"{count(chips, 'chip')} of one trained network"
    return f"{count(chips, 'chip')} of each of {count(seeds, 'trained network')} a method"


def _methods(results: Results) -> str:
    """Every method, an abbreviation with its full name; none of a network that was not trained here."""
    if not results.trained:
        return ""
    full, known = spelt_out(results.method_kinds.values()), Method.kinds()
    kinds = (kind if kind in known else label for label, kind in results.method_kinds.items())
    named = (f"{kind} ({full[kind]})" if kind in full else kind for kind in kinds)
    return _several(named)


def _part(recipe: str, name: str) -> list[str]:
    """Every `hardware.NAME` that a recipe or the axes of a study name, in words."""
    try:
        table = tomllib.loads(recipe)
    except tomllib.TOMLDecodeError:
        return []
    base = _named(table.get("base", table), name)
    changed = [_named(change, name) for change in _changes(table)]
    default = Hardware.model_fields[name].default
    first = base or (default.table() if default is not None else None)
    return [_words(one) for one in (first, *(_over(first, change) for change in changed)) if one]


def _over(base: Any, change: Any) -> Any:
    """A change of some fields of the base; one that names a kind stands for itself."""
    partial = isinstance(base, Mapping) and isinstance(change, Mapping) and "kind" not in change
    return {**base, **change} if partial else change


def _changes(table: Mapping[str, Any]) -> Iterator[Any]:
    axes = table.get("axes")
    for labels in axes.values() if isinstance(axes, Mapping) else ():
        yield from labels.values() if isinstance(labels, Mapping) else ()
    yield table.get("always")


def _named(table: Any, name: str) -> Any:
    hardware = table.get("hardware") if isinstance(table, Mapping) else None
    return hardware.get(name) if isinstance(hardware, Mapping) else None


def _words(part: Any) -> str:
    if not isinstance(part, Mapping):
        return str(part)
    fields = [f"{key} {value}".lower() for key, value in part.items() if key != "kind" and value is not False]
    kind = str(part.get("kind", ""))
    return f"{kind} ({', '.join(fields)})".strip() if fields else kind
