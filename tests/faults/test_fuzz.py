"""Recipes by chance at the command line: an answer or one line per mistake, soon, in little memory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from faults.forking import Done, Forking
from faults.recipes import by_chance, setting

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="forks of POSIX"),
]
COUNT = int(os.environ.get("EVERYCHIP_FUZZ", "100"))
"""How many recipes; `EVERYCHIP_FUZZ=2000` is the whole."""
AT_ONCE = 25
SECONDS, BYTES, KILOBYTES = 60.0, 12 << 30, 2 << 20
LINE = 2_000
"""Characters of the longest message."""
SMALL = (
    *("--set", "data=digits", "--set", 'model={kind="mlp",hidden=[4]}', "--set", "training.epochs=1"),
    *("--set", "evaluation.chips=2", "--set", "evaluation.sigma=[0.1]", "--set", "compute.threads=1"),
    *("--set", "training.validation_chips=2"),
)


def command(seed: int, recipe: Path) -> tuple[str, ...]:
    """Writes recipe number `seed` and says what is asked about it."""
    text, is_study = by_chance(seed)
    recipe.write_bytes(text)
    if is_study:
        return ("study", str(recipe), "--plan")
    asked = (("check", str(recipe)), ("check", str(recipe), "--json"), ("cost", str(recipe)))
    run = ("run", str(recipe), *SMALL, "--output", str(recipe.with_suffix("")))
    return (*asked, run)[seed % 4]


def mistake_of(done: Done) -> str:
    """What is wrong with how a command ended, if anything is."""
    if done.hung:
        return "a hang"
    if "Traceback" in done.err or done.code not in (0, 2):
        return "a traceback"
    if done.code == 2 and not done.refused:
        return "no line of error"
    if done.code == 2 and max(map(len, done.err.splitlines())) > LINE:
        return "a line without end"
    if any(sign in done.out + done.err for sign in ("\x1b", "\x00")):
        return "a control character"
    return f"{done.peak} kB" if done.peak > KILOBYTES else ""


def test_a_hang_a_traceback_and_too_much_memory_would_be_seen(forking: Forking) -> None:
    assert mistake_of(forking.run("check", "digits", seconds=0.005)) == "a hang"
    well = forking.run("check", "digits", seconds=SECONDS, memory=BYTES)
    assert mistake_of(well) == ""
    assert 0 < well.peak < KILOBYTES
    assert mistake_of(replace(well, peak=KILOBYTES + 1)) == f"{KILOBYTES + 1} kB"
    assert mistake_of(replace(well, code=2, err="Traceback (most recent call last):")) == "a traceback"
    large = ("check", "digits", "--set", 'model={kind="mlp",hidden=[8000,8000]}')
    small = forking.run(*large, seconds=SECONDS, memory=1 << 20)
    assert small.refused, "the bound of memory binds"
    assert "memory" in small.err


@pytest.mark.timeout(AT_ONCE * SECONDS)
@pytest.mark.parametrize("first", range(0, COUNT, AT_ONCE))
def test_any_recipe_is_answered_or_refused_in_lines(first: int, forking: Forking, tmp_path: Path) -> None:
    wrong = {}
    for seed in range(first, min(first + AT_ONCE, COUNT)):
        arguments = command(seed, tmp_path / f"{seed}.toml")
        done = forking.run(*arguments, seconds=SECONDS, memory=BYTES)
        if words := mistake_of(done):
            wrong[seed] = f"{words}: {' '.join(arguments[:1])}: {done.err.strip()[-600:]}"
    assert wrong == {}


@pytest.mark.timeout(AT_ONCE * SECONDS)
@pytest.mark.parametrize("first", range(0, COUNT // 4, AT_ONCE))
def test_any_setting_is_answered_or_refused_in_lines(first: int, forking: Forking) -> None:
    wrong = {}
    for seed in range(first, first + AT_ONCE):
        asked = setting(seed)
        done = forking.run("check", "digits", "--set", asked, seconds=SECONDS, memory=BYTES)
        if words := mistake_of(done):
            wrong[seed] = f"{words}: {asked[:200]}: {done.err.strip()[-600:]}"
    assert wrong == {}
