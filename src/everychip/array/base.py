"""What an array is: the size of its tiles, its converters, and the noise of a read."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from everychip.config.component import Config, refusal

Bits = Annotated[int, Field(ge=2, le=24)]
FullScale = Annotated[float, Field(ge=0)]


class Ranges(Config):
    """The full scales of the converters of one matrix, in the units of the network.

    dac: the largest |x| that goes in. adc: the largest |partial sum| of every tile, as
    adc[slice][row of tiles][column of tiles]; empty where no converter reads the sums.
    """

    dac: FullScale
    adc: tuple[tuple[tuple[FullScale, ...], ...], ...] = ()


class Array(Config):
    """Crossbar tiles of rows × columns cells, a DAC on every row, an ADC behind the columns, digital sums.

    y = Σ_t ADC_t(Σ_{i in t} W'_i · DAC(x_i) + n_t), t over the tiles that the inputs of a layer are split
    into. DAC and ADC round to 2^(b−1) − 1 equal steps for either sign, b their bits: Δ·clip(round(v / Δ)),
    Δ = range / (2^(b−1) − 1). Backward sees through both (straight-through).

    rows, columns: of a tile. A linear layer has a row for each input, a convolution one for each input
    channel and kernel position; whole channels share a tile where they fit, groups have tiles of their own.
    dac_bits, adc_bits: absent, the converter is ideal.
    ranges: full scales by the name of the parameter, as `everychip.calibrate` measures them: one
    for the inputs of a layer, one for the sums of each tile. Absent, every read takes its own largest values,
    which therefore depend on the batch.
    adc_percentile: of the |sums| that a measured range covers; below 100 the rare larger ones are clipped.
    read_noise: the standard deviation of n_t, fresh in every read, in units of what one cell at G_max adds at
    full input, max|W|·max|x|.
    adc_noise: the standard deviation of an ADC's own noise, fresh in every conversion, in units of its step Δ
    (LSB), as its data sheet has it.
    dac_ranges: full scales of the DACs that training has learned, by the name of the parameter; `calibrate`
    keeps them and measures those of the ADCs behind them.
    shift_add: how the slices of a mapping with digits come together: "digital", every slice is converted and
    then added; "analog", they are added before the conversion. The two cells of a differential pair, or a
    cell and its offset column, are subtracted before it.

    Source: tiles and shift-and-add as in ISAAC (Shafiee et al., ISCA 2016); the unit of the read noise is
    that of aihwkit (Rasch et al., AICAS 2021), whose default is 0.06.

    >>> Array(rows=128, columns=128, dac_bits=8, adc_bits=8).label
    'tiles of 128×128, 8-bit DAC, 8-bit ADC'
    """

    rows: Annotated[int, Field(ge=1)] = 256
    columns: Annotated[int, Field(ge=1)] = 256
    dac_bits: Bits | None = None
    adc_bits: Bits | None = None
    adc_percentile: Annotated[float, Field(gt=50, le=100)] = 100.0
    read_noise: Annotated[float, Field(ge=0)] = 0.0
    shift_add: Literal["digital", "analog"] = "digital"
    ranges: dict[str, Ranges] | None = None
    adc_noise: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    dac_ranges: dict[str, Annotated[float, Field(gt=0)]] | None = None

    @model_serializer(mode="wrap")
    def _without_its_own_noise_no_key(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes without `adc_noise` have no such key, and keep the run ids that they had."""
        found: dict[str, Any] = handler(self)
        return found if self.adc_noise else {key: one for key, one in found.items() if key != "adc_noise"}

    @model_validator(mode="after")
    def _converters_are_there(self) -> Self:
        if self.adc_noise and self.adc_bits is None:
            raise refusal(("adc_noise",), f"{self.adc_noise:g} steps of an ideal ADC", "adc_bits, or 0")
        if self.dac_ranges and self.dac_bits is None:
            raise refusal(("dac_ranges",), "ranges of an ideal DAC", "dac_bits, or none")
        return self

    @property
    def is_noisy(self) -> bool:
        """Whether two reads of one chip differ."""
        return self.read_noise > 0 or self.adc_noise > 0

    @property
    def label(self) -> str:
        """The array in one line."""
        dac, adc = (f"{bits}-bit" if bits else "ideal" for bits in (self.dac_bits, self.adc_bits))
        noise = f", read noise {self.read_noise:g}" if self.read_noise else ""
        learned = " of learned range" if self.dac_ranges else ""
        own = f", ADC noise {self.adc_noise:g} LSB" if self.adc_noise else ""
        return f"tiles of {self.rows}×{self.columns}, {dac} DAC{learned}, {adc} ADC{noise}{own}"
