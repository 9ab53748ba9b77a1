"""A file is read in its unit, and whatever is wrong with it is said in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference.measurements import rows, write

from everychip.device_fit import read_csv
from everychip.errors import DataError, EverychipError

GOOD = "target,measured\n0,0.1\n25,24\n"


def read(tmp_path: Path, text: str | bytes, **options):
    path = tmp_path / "measured.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_csv(path, **{"unit": "uS", **options})


@pytest.mark.parametrize(("unit", "factor"), [("S", 1e-6), ("mS", 1e-3), ("uS", 1), ("µS", 1), ("nS", 1e3)])
def test_the_same_device_in_any_unit_is_the_same(tmp_path, unit, factor):
    table = rows(levels=(0, 0.5, 1), cell=lambda g: 0.05)
    scaled = [{**r, "target": r["target"] * factor, "measured": r["measured"] * factor} for r in table]
    found = read_csv(write(tmp_path / "a.csv", scaled), unit=unit)
    assert found.g_max == pytest.approx(25)
    assert found.deviation == pytest.approx([(r["measured"] - r["target"]) / 25 for r in table])


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD + "\n\n",
        GOOD.replace("target,measured", " Target (uS) , measured_uS"),
        "unit,measured,target\nuS,0.1,0\nµS,24,25\n",
    ],
    ids=["plain", "semicolons", "tabs", "mark", "windows", "blank lines", "units in names", "column unit"],
)
def test_common_ways_to_write_a_table_are_read(tmp_path, text):
    found = read(tmp_path, text)
    assert found.target.tolist() == [0, 1]
    assert found.deviation == pytest.approx([0.1 / 25, -1 / 25])


def test_names_of_dies_and_devices_may_be_any_text_and_other_columns_are_named(tmp_path):
    text = "target,measured,die,device,time,note\n0,0.1,A,x,1,?\n25,24,B,x,1,!\n"
    found = read(tmp_path, text)
    assert found.die.tolist() == [0, 1]
    assert found.device.tolist() == [0, 0]
    assert found.cycle is None
    assert found.ignored == ("note",)


def test_g_max_may_be_above_the_largest_target(tmp_path):
    found = read(tmp_path, GOOD, g_max=50)
    assert found.g_max == 50
    assert found.target.tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "an empty file"),
        ("  \n", {}, "an empty file"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", {}, "bytes that are no text"),
        ("a\0b", {}, "bytes that are no text"),
        ('{"target": 1}', {}, "no column target and no column measured"),
        ("target,value\n0,1\n", {}, "no column measured among: target, value"),
        ("0,1\n2,3\n", {}, "the first line names the columns"),
        ("target,measured\n", {}, "a header and no rows"),
        ("target,measured,target\n0,1,2\n", {}, "two columns called target"),
        ("target,measured\n0,1\n2\n", {}, "measured.csv:3: found 1 value; expected 2"),
        ("target,measured\n0,0.1\n25,nan\n", {}, "measured.csv:3: found nan in the column measured"),
        ("target,measured\n0,0.1\n25,inf\n", {}, "found inf in the column measured"),
        ("target,measured\n0,0.1\n25,\n", {}, "found nothing in the column measured"),
        ("target,measured\n0,0.1\nx,1\ny,1\n", {}, "found x in the column target.*and 1 more"),
        ("target,measured\n-1,0.1\n25,24\n", {}, "measured.csv:2: found a target of -1 uS"),
        (GOOD, {"g_max": 20}, "expected targets within 0 … 20 uS, which is G_max; raise --g-max"),
        (GOOD, {"g_max": -1}, "--g-max: found -1"),
        ("target,measured,time\n0,0.1,-1\n25,24,1\n", {}, "a negative time"),
        (GOOD, {"unit": "S"}, "--unit uS"),
        ("target,measured\n0,1e-7\n2.5e-5,2.4e-5\n", {}, "--unit S"),
        (GOOD, {"unit": "uA"}, "uA, which is a current; G = I/V"),
        (GOOD + "2.5e-5,2.4e-5\n", {}, "measured.csv:4: .*mixed"),
        (GOOD + "25,26\n25,2.4e-5\n", {}, "measured.csv:5: .*mixed"),
        ("target,measured\n0,1e-7\n25,2.4e-5\n20,2e-5\n", {}, "mixed"),
        ("target (S),measured\n0,1\n25,24\n", {}, "target in S; expected uS"),
        ("target,measured,unit\n0,1,uS\n25,24,S\n", {}, "mixed units in the column unit: S, uS"),
        ("target,measured,unit\n0,1,S\n25,24,S\n", {}, "S in the column unit; expected uS"),
        ("target,measured\n0,0\n0,1\n", {}, "no target above 0"),
        ('target,measured\n0,"0.1\n25,24\n', {}, "CSV cannot read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, options, words):
    with pytest.raises(EverychipError, match=words) as error:
        read(tmp_path, text, **options)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(DataError, match="expected a CSV file"):
            read_csv(path, unit="uS")


def test_ordinary_outliers_are_no_units(tmp_path):
    """A dead cell, a stuck cell and a tiny lowest level are data."""
    text = "target,measured\n0,0\n0.01,0.3\n25,0\n25,26\n25,0.02\n10,10\n"
    assert np.isfinite(read(tmp_path, text).deviation).all()
