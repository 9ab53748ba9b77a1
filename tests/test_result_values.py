"""Results are frozen values with one schema; and nothing decides by the words beside them."""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

import everychip
from everychip import Hardware, check
from everychip.config.result import plain, schema_of
from everychip.cost.answers import Answer, Answers
from everychip.cost.counting import Counts, Format
from everychip.cost.estimate import Cost, estimate
from everychip.cost.exits import ExitCost
from everychip.cost.matrices import Matrix
from everychip.cost.tradeoff import Tradeoff
from everychip.device_fit.fitting import Fit, Level, TimeFit, fit
from everychip.device_fit.goodness import ChiSquared, Goodness, Normality
from everychip.device_fit.nested import Components
from everychip.device_fit.polynomials import Polynomial
from everychip.device_fit.reading import Measurements
from everychip.devices import Gaussian
from everychip.evaluation.break_even import BreakEven
from everychip.evaluation.disagreement import Disagreement
from everychip.evaluation.draws import Draws
from everychip.evaluation.screening import Screening
from everychip.evaluation.sensitivity import LayerCost, Sensitivity
from everychip.evaluation.worst_case import WorstCase
from everychip.export.agreement import Agreement
from everychip.hardware.coverage import Coverage
from everychip.hardware.effective_sigma import EffectiveSigma, LayerSigma
from everychip.hardware.hardware import Why
from everychip.statistics.intervals import Difference, Interval
from everychip.statistics.paired_comparison import Comparison, compare
from everychip.statistics.verdict import Verdict, verdict
from everychip.study.records import CompleteRun, RunEntry, RunRecord, StudyRecord
from everychip.study.sensitivity import SensitivityRecord

KINDS = (
    Interval, Difference, Verdict, Comparison, BreakEven, Disagreement, Coverage, RunEntry, RunRecord,
    CompleteRun, StudyRecord, SensitivityRecord, Draws, Screening, LayerCost, Sensitivity, WorstCase,
    LayerSigma, EffectiveSigma, Answer, Answers, Counts, Format, Cost, ExitCost, Matrix, Tradeoff, Fit, Level,
    TimeFit, ChiSquared, Goodness, Normality, Components, Polynomial, Agreement,
)  # fmt: skip
MODEL = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
HARDWARE = Hardware(device=Gaussian(sigma=0.1))
DATA = (torch.randn(12, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 2)
LEVELS = np.repeat([0.0, 1.0], 20)
MEASURED = Measurements("a.csv", 25.0, LEVELS, np.tile([0.03, 0.05], 20), None, None, None, None)
VALUES = (
    Interval(0.9, 0.8, None, over="chips", refusal="too few"),
    verdict([0.9, 0.8, 0.7], target=0.8),
    compare([0.9, 0.8, 0.7], [0.8, 0.8, 0.6]),
    check(MODEL, Hardware(device=Gaussian(sigma=0.1), digital=("1",)), torch.ones(1, 8)),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_has_a_schema_of_all_its_fields(kind):
    schema = schema_of(kind)
    json.dumps(schema)
    fields = (
        {f.name for f in dataclasses.fields(kind)}
        if dataclasses.is_dataclass(kind)
        else {f.alias or name for name, f in kind.model_fields.items()}
    )
    assert fields <= schema["properties"].keys()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_result_is_read_back_as_it_was_written_and_cannot_be_changed(value):
    text = json.dumps(plain(value))
    assert TypeAdapter(type(value)).validate_python(json.loads(text)) == value
    name = next(iter(json.loads(text)))
    with pytest.raises((ValidationError, dataclasses.FrozenInstanceError)):
        setattr(value, name, 0)


OBJECTS = (
    everychip.evaluate(MODEL, HARDWARE, DATA, chips=3),
    everychip.effective_sigma(MODEL, HARDWARE),
    everychip.sensitivity(MODEL, HARDWARE, DATA, chips=2),
    estimate(MODEL, HARDWARE, torch.ones(1, 8)),
    fit(MEASURED),
)


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_a_result_with_columns_of_numbers_comes_back_from_json(value):
    written = json.loads(json.dumps(plain(value)))
    read = TypeAdapter(type(value)).validate_python(written)
    assert plain(read) == plain(value)
    assert str(read) == str(value)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, next(iter(written)), 0)


@pytest.mark.parametrize(
    ("reason", "crossbar", "why", "unused"),
    [
        ("a matrix", True, Why.MATRIX, False),
        ("a matrix, but the sample's forward never multiplies by it", True, Why.MATRIX, True),
        ("digital by request (head.*)", False, Why.BY_REQUEST, False),
        ("torch.int8 is not floating point", False, Why.NOT_FLOATING, False),
        ("a bias or vector is added digitally", False, Why.VECTOR, False),
        ("embedding", True, Why.EMBEDDING, False),
        ("an embedding table is a look-up", False, Why.LOOK_UP, False),
    ],
)
def test_rows_of_earlier_versions_are_read_by_their_text(reason, crossbar, why, unused):
    row = {
        "name": "w", "layer": "Linear", "shape": [2, 2], "parameters": 4, "macs": 4, "crossbar": crossbar,
        "reason": reason, "remedy": "", "share_of_parameters": 1.0, "share_of_macs": 1.0,
    }  # fmt: skip
    old = {"model": "Net", "macs_between_activations": 0, "rows": [row]}
    (read,) = Coverage.model_validate(old).rows
    assert (read.why, read.unused) == (why, unused)


WORDS = {
    "reason",
    "reasons",
    "words",
    "refusal",
    "refusals",
    "cautions",
    "remedy",
    "summary",
    "sentence",
    "finding",
}
"""Names of texts for people."""
READING = {"startswith", "endswith", "partition", "rpartition", "split", "find", "index", "count"}
FOREIGN = {
    "probing.py": "view size is not compatible",  # PyTorch has no type for this error
    "coverage.py": "reason",  # of rows that earlier versions wrote, read once: Row._of_earlier_versions
    "__init__.py": "words",  # the same, of memory
    "reasons.py": "reason",  # as in coverage.py: Why.of_text
    "stopping.py": "words",  # the very text of another field
}
SOURCES = sorted(Path(everychip.__file__).parent.rglob("*.py"))


def decisions(tree: ast.AST) -> list[str]:
    """Comparisons with prose, and texts for people that are taken apart, with their lines."""
    found: list[tuple[int, ast.expr]] = []
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Compare) and not any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = [node.func.value, *node.args] if node.func.attr in READING else []
        found += [(part.lineno, part) for part in parts if prose(part) or text_for_people(part)]
    return [f"{line}: {ast.unparse(part)}" for line, part in found]


def prose(node: ast.AST) -> bool:
    """A text of several words."""
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and sum(word.isalpha() for word in text.split()) > 1


def text_for_people(node: ast.AST) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in WORDS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parent)))
def test_no_branch_hangs_on_prose(path):
    excused = FOREIGN.get(path.name, "\0")
    found = decisions(ast.parse(path.read_text(encoding="utf-8")))
    assert [text for text in found if excused not in text] == []


@pytest.mark.parametrize(
    "code",
    [
        'held = "yes" if row.reason == "a matrix" else "no"',
        'kept = [w for w in fixed.refusals if "has no lower bound" not in w]',
        'name, _, value = verdict.words.partition(" ")',
        'head = str(x).partition(" of the mean")',
    ],
)
def test_the_search_for_prose_finds_what_it_is_for(code):
    assert decisions(ast.parse(code))
