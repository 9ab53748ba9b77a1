"""The device and mapping equations of DEVICES.md, sections 1 and 2, number by number, without tensors."""

from __future__ import annotations

import math


def multipliers(s: float) -> list[float]:
    """m = [1, s, s, 1] / sqrt(0.4 s^2 + 0.6)."""
    scale = math.sqrt(0.4 * s**2 + 0.6)
    return [1 / scale, s / scale, s / scale, 1 / scale]


def level_of_whole_weight(weight: float, largest: float) -> int:
    """The authors' code: an inner level where 0.25 < |W|/max|W| < 0.75."""
    share = abs(weight) / largest
    if 0.25 < share < 0.75:
        return 1 if share < 0.5 else 2
    return 0 if share <= 0.25 else 3


def full_scale_factor(weight_bits: int, cell_bits: int) -> float:
    """sigma_W / max|W| per sigma of full scale: sqrt(sum of 2^(2iK)) / sum of 2^(iK), i < M/K."""
    places = [2 ** (i * cell_bits) for i in range(weight_bits // cell_bits)]
    return math.sqrt(sum(p * p for p in places)) / sum(places)


def digits(weight: float, largest: float, weight_bits: int, cell_bits: int) -> list[int]:
    """The cells of one weight, lowest digit first."""
    whole = round(abs(weight) / largest * (2**weight_bits - 1))
    found = []
    for _ in range(weight_bits // cell_bits):
        whole, digit = divmod(whole, 2**cell_bits)
        found.append(digit)
    return found


def sliced_sigma(
    weight: float, largest: float, weight_bits: int, cell_bits: int, sigma_of_digit: dict[int, float]
) -> float:
    """sigma_W of a weight whose every cell has the sigma (of full scale) of the digit it stores."""
    top = 2**cell_bits - 1
    step = largest / (2**weight_bits - 1)
    variance = 0.0
    for i, digit in enumerate(digits(weight, largest, weight_bits, cell_bits)):
        # A cell's full scale is `top` of its digits, and a digit of place i counts 2^(iK) steps.
        variance += (sigma_of_digit[digit] * top * 2 ** (i * cell_bits) * step) ** 2
    return math.sqrt(variance)
