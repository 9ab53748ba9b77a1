"""Files as instruments and spreadsheets write them are the same measurements."""

from __future__ import annotations

import numpy as np
import pytest

from everychip.device_fit import read_csv
from everychip.errors import EverychipError

PLAIN = "target,measured\n0.5,0.55\n25.25,24.75\n12.5,12.75\n"
GERMAN = PLAIN.replace(",", ";").replace(".", ",")


def read(tmp_path, text, **options):
    path = tmp_path / "measured.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_csv(path, **{"unit": "uS", **options})


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (GERMAN, {}),
        (GERMAN.replace(";", "\t"), {}),
        ('target,measured\n"0,5","0,55"\n"25,25","24,75"\n"12,5","12,75"\n', {}),
        (GERMAN.replace("0,55", "5,5e-1"), {}),
        (PLAIN.encode("utf-16"), {}),
        (GERMAN.replace(";", "\t").encode("utf-16"), {}),
        (PLAIN.encode("utf-16-le"), {}),
        (PLAIN.encode("utf-16-be"), {}),
        (GERMAN.replace(";", "\t").encode("utf-16-le"), {}),
        (PLAIN.replace("target,measured", "Target (µS),Measured (µS)").encode("utf-16-le"), {}),
        ("# Keithley 2450\n" + PLAIN, {}),
        (PLAIN.replace("25.25", "# compliance reached\n25.25"), {}),
        ("% made by a script\n// twice\n" + PLAIN, {}),
        ("# by numpy.savetxt\n# " + PLAIN, {}),
        ("Instrument;2450\nOperator;A. B.\n\n" + PLAIN, {}),
        (PLAIN.replace("target,measured", "Target (µS),Measured (µS)").encode("cp1252"), {}),
        (PLAIN.replace("target,measured", "G_uS,read"), {"columns": {"target": "G_uS", "measured": "read"}}),
        (PLAIN.replace("target", "Soll"), {"columns": {"target": "Soll"}}),
    ],
)
def test_the_same_measurements_however_they_are_written(tmp_path, text, options):
    found, expected = read(tmp_path, text, **options), read(tmp_path, PLAIN)
    assert found.target.tolist() == expected.target.tolist()
    assert found.deviation == pytest.approx(expected.deviation)
    assert found.g_max == expected.g_max


def test_a_target_column_may_be_another_than_the_one_called_target(tmp_path):
    text = "target,aim,measured\n9,1,1\n9,2,2\n"
    found = read(tmp_path, text, columns={"target": "aim"})
    assert (found.g_max, found.ignored) == (2, ("target",))


def test_what_stands_above_and_between_is_counted(tmp_path):
    found = read(tmp_path, "# a\nModel,2450\n" + PLAIN + "# end\n")
    assert found.notes == ("2 comment lines left out", "1 line above the header left out")


def test_mistakes_below_comments_are_named_by_their_line_in_the_file(tmp_path):
    with pytest.raises(EverychipError, match=r"measured\.csv:5: found x"):
        read(tmp_path, "# a\n\n# b\n" + "target,measured\nx,1\n2,2\n")


@pytest.mark.parametrize(
    ("target", "measured", "options"),
    [
        ([40.0, 80.0], [50.0, 100.0], {"unit": "kOhm"}),
        ([40.0, 80.0], [50.0, 100.0], {"unit": "kΩ"}),
        ([5.0, 2.5], [4.0, 2.0], {"unit": "uA", "read_voltage": 0.2}),
        ([-5.0, -2.5], [-4.0, -2.0], {"unit": "uA", "read_voltage": -0.2}),
        ([25.0, 12.5], [4000.0, 2000.0], {"unit": "uS", "measured_unit": "nA", "read_voltage": 0.2}),
        ([25000.0, 12500.0], [50.0, 100.0], {"unit": "nS", "measured_unit": "kOhm"}),
    ],
)
def test_resistances_and_currents_are_conductances(tmp_path, target, measured, options):
    """25 and 12.5 µS were written, 20 and 10 µS measured: 1/R and I/V, by hand."""
    rows = "".join(f"{a},{b}\n" for a, b in zip(target, measured, strict=True))
    found = read(tmp_path, "target,measured\n" + rows, **options)
    assert found.g_max == pytest.approx(25)
    assert found.target == pytest.approx([1, 0.5])
    assert found.deviation == pytest.approx([-0.2, -0.1])


def test_rows_that_are_no_numbers_are_left_out_and_counted_on_request(tmp_path):
    text = "target,measured,device\n1,1,a\n2,OVERFLOW,b\n3,,c\n4,4,d\n5,OVERFLOW,e\n6\n"
    found = read(tmp_path, text, skip_invalid=True)
    assert found.target.tolist() == [0.25, 1]
    assert np.unique(found.device).size == 2
    short, invalid = found.notes
    assert short.startswith("1 of 6 rows left out (another length")
    assert invalid.startswith("3 of 5 rows left out (OVERFLOW 2, empty 1)")
    with pytest.raises(EverychipError, match=r"measured\.csv:7: found 1 value; expected 3"):
        read(tmp_path, text)
    with pytest.raises(EverychipError, match=r"found OVERFLOW.*and 2 more.*--skip-invalid"):
        read(tmp_path, text.removesuffix("6\n"))


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (GERMAN.replace("0,55", "0.55"), {}, "a decimal comma beside a decimal point"),
        ("target;measured\n1,000;1,100\n2,000;2,100\n", {}, "may separate decimals or thousands"),
        (GERMAN, {"decimal": ";"}, "--decimal: found ';'"),
        (PLAIN, {"decimal": ","}, "found 0.5 in the column target"),
        (PLAIN, {"unit": "nA"}, "--read-voltage"),
        (PLAIN, {"read_voltage": 0.2}, "--read-voltage: found 0.2 V; expected a unit of current"),
        (PLAIN, {"unit": "nA", "read_voltage": 0.0}, "expected volts, other than 0"),
        (PLAIN, {"measured_unit": "furlong"}, "--measured-unit: found unknown unit 'furlong'"),
        ("target,measured\n40,0\n50,50\n", {"unit": "kOhm"}, "found 0 in the column measured; .*above 0"),
        ("target (kΩ),measured\n40,30\n", {}, "target in kOhm; expected uS; --unit kOhm"),
        ("target,measured (nA)\n40,30\n", {}, "measured in nA; expected uS; --measured-unit nA"),
        (PLAIN, {"columns": {"tagret": "x"}}, "unknown column 'tagret'; did you mean target"),
        (PLAIN, {"columns": {"target": "x"}}, "no column x among: target, measured"),
        ("# only\n", {}, "comments and no rows"),
        ("target,measured\nx,y\n", {"skip_invalid": True}, "no row whose cells are all numbers"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, text, options, words):
    with pytest.raises(EverychipError, match=words) as error:
        read(tmp_path, text, **options)
    assert "\n" not in str(error.value)


def test_thousands_or_decimals_are_what_the_option_says(tmp_path):
    found = read(tmp_path, "target;measured\n1,000;1,100\n2,000;2,100\n", decimal=",")
    assert found.g_max == 2
