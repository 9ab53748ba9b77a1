"""The command line says what the array is, and in one line what cannot go through it."""

from __future__ import annotations

import json

from everychip.cli import call

ARRAY = "hardware.array={ rows = 64, columns = 64, dac_bits = 8, adc_bits = 6 }"


def test_check_names_the_array(capsys):
    assert call(["check", "lenet", "--set", ARRAY]) == 0
    assert "Array: tiles of 64×64, 8-bit DAC, 6-bit ADC." in capsys.readouterr().out
    assert call(["check", "lenet", "--set", ARRAY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["array"] == "tiles of 64×64, 8-bit DAC, 6-bit ADC"


def test_check_refuses_a_fused_layer_in_one_line_with_its_remedy(capsys):
    assert call(["check", "gru", "--set", ARRAY]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "nn.GRU, whose fused kernel" in line
    remedy = ["--set", 'hardware.digital=["recurrent"]']
    assert call(["check", "gru", "--set", ARRAY, *remedy]) == 0


def test_a_converter_of_one_bit_is_refused(capsys):
    assert call(["check", "lenet", "--set", "hardware.array.adc_bits=1"]) == 2
    assert "hardware.array.adc_bits: found 1" in capsys.readouterr().err
