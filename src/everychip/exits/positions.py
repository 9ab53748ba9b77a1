"""Where exits are attached: named submodules, a paper's own, or even shares of the compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from torch import nn

from everychip.errors import ModelError
from everychip.exits.survey import Site, Survey
from everychip.network.macs import Call


def choose(
    model: nn.Module,
    survey: Survey,
    *,
    where: str | Sequence[str],
    count: int = 3,
    pool: int | Sequence[int] | None = None,
) -> list[Site]:
    """The sites of the exits in the order the model computes them, with the size each is pooled to."""
    if where == "auto":
        names = even_shares(model, survey, count=count)
    elif where == "paper":
        sizes = _papers(model)
        names, pool = list(sizes), list(sizes.values()) if pool is None else pool
    else:
        names = [where] if isinstance(where, str) else list(where)
    found = [_named(model, survey, name) for name in names]
    if not found or len(set(names)) < len(names):
        raise ModelError("exits.where", found=str(names), expected="one or more names, each once")
    order = {name: n for n, name in enumerate(survey.sites)}
    pooled = [replace(site, pool=size) for site, size in zip(found, _pools(found, pool), strict=True)]
    return sorted(pooled, key=lambda site: order[site.name])


def even_shares(model: nn.Module, survey: Survey, *, count: int) -> list[str]:
    """The submodules that finish nearest to the shares 1/(count+1) … count/(count+1) of all MACs.

    A container is looked into when it holds more than 1/(2(count+1)) of the MACs. Of the submodules that
    finish at the same share the last is taken, so that a convolution's norm, activation and pooling belong
    to it; within 1/(4(count+1)) of a share the least nested one is, so that a residual block counts as a
    whole. Submodules called more than once, and those before the first or after the last product, are out.
    """
    total = survey.trace.total
    last: dict[int, str] = {}
    for call in _candidates(model, survey, smallest=total / (2 * (count + 1))):
        if 0 < call.after < total:
            last[call.after] = call.name
    if not last:
        raise ModelError(
            type(model).__name__,
            found="no inner submodule whose output could feed an exit",
            expected="a float tensor per input, between the first and the last product",
            remedy='name submodules: where = ["…"], or use a method without exits',
        )
    finished = sorted(last)
    chosen: list[str] = []
    count, step = min(count, len(finished)), 1 / (count + 1)
    for n in range(1, count + 1):
        free = finished[: len(finished) - (count - n)]
        best = min(free, key=lambda macs: _misfit(last[macs], abs(macs / total - n * step), step))
        finished = finished[finished.index(best) + 1 :]
        chosen.append(last[best])
    return chosen


def _misfit(name: str, distance: float, step: float) -> tuple[bool, int, float]:
    far = distance > step / 4
    return far, 0 if far else name.count("."), distance


def _candidates(model: nn.Module, survey: Survey, *, smallest: float) -> Iterator[Call]:
    calls = survey.trace.calls
    times = Counter(call.name for call in calls)
    closed = tuple(f"{call.name}." for call in calls if call.after - call.before <= smallest)
    for call in calls:
        reshapes = isinstance(model.get_submodule(call.name), nn.Flatten | nn.Unflatten)
        readable = call.name in survey.sites and times[call.name] == 1
        if readable and not reshapes and not call.name.startswith(closed):
            yield call


def _papers(model: nn.Module) -> Mapping[str, int]:
    positions: Mapping[str, int] | None = getattr(type(model), "exit_positions", None)
    if not positions:
        raise ModelError(
            "exits.where",
            found=f'"paper" for a {type(model).__name__}, for which no paper names exits',
            expected="a class with exit_positions, as models.VGG8 and models.ResNet18 build",
            remedy='where = "auto" works for any model',
        )
    return positions


def _named(model: nn.Module, survey: Survey, name: str) -> Site:
    if name in survey.sites:
        return survey.sites[name]
    known = [known for known, _ in model.named_modules() if known]
    if name in known:
        raise ModelError(
            name,
            found="a submodule that no exit can read",
            expected="one that is called in the forward and returns a float tensor with one entry per input",
            remedy='where = "auto" chooses among those',
        )
    near = get_close_matches(name, known, n=3, cutoff=0.5) or known[:8]
    raise ModelError(
        "exits.where", found=f"unknown submodule {name!r}", remedy=f"did you mean {' or '.join(near)}?"
    )


def _pools(sites: Sequence[Site], pool: int | Sequence[int] | None) -> list[tuple[int, ...]]:
    if pool is None:
        return [_default_pool(site) for site in sites]
    sizes = [pool] * len(sites) if isinstance(pool, int) else list(pool)
    if len(sizes) != len(sites) or min(sizes) < 1:
        raise ModelError("exits.pool", found=str(sizes), expected=f"{len(sites)} sizes of at least 1")
    # Larger than the feature map it would only repeat its entries.
    return [tuple(min(k, n) for n in site.spatial) for k, site in zip(sizes, sites, strict=True)]


def _default_pool(site: Site) -> tuple[int, ...]:
    sequence = site.features_last and len(site.spatial) == 1
    return tuple(1 if sequence or len(site.spatial) > 3 else min(4, n) for n in site.spatial)
