"""The device as a TOML file, its plot beside it: both whole, or neither."""

from __future__ import annotations

from pathlib import Path

from everychip.config.toml import write_toml
from everychip.device_fit.chart import chart
from everychip.device_fit.fitting import Fit
from everychip.errors import StoreError
from everychip.report.engine import must_start
from everychip.storage.files import write_whole


def refuse_output(output: Path, *, source: Path) -> None:
    """Refuse, before anything is computed, a name that cannot become the device's file."""
    if output.suffix != ".toml":
        raise _unusable(
            output, f"the ending {output.suffix!r}" if output.suffix else "no ending", "a .toml file"
        )
    for path in (output, output.with_suffix(".svg")):
        if path.is_dir():
            raise _unusable(path, "a folder", "a file")
    if not output.parent.is_dir():
        raise _unusable(output, f"no folder {output.parent}", "an existing one")
    if output.resolve() == source.resolve():
        raise _unusable(output, "the measurements themselves", "another file")


def _unusable(output: Path, found: str, expected: str) -> StoreError:
    remedy = "choose another one: --output FILE.toml"
    return StoreError(str(output), found=found, expected=expected, remedy=remedy)


def write(fit: Fit, output: Path, *, comments: tuple[str, ...] = ()) -> tuple[Path, Path]:
    """Write the device with comments above it, and its plot as SVG beside it; both paths."""
    import vl_convert

    must_start()
    text = "".join(f"# {line}".rstrip() + "\n" for line in comments) + write_toml(fit.whole.table())
    image = vl_convert.vegalite_to_svg(chart(fit))
    plot = output.with_suffix(".svg")

    def write_device(draft: Path) -> None:
        draft.write_text(text, encoding="utf-8")

    def write_both(draft: Path) -> None:
        draft.write_text(image, encoding="utf-8")
        write_whole(output, write_device)

    try:
        write_whole(plot, write_both)
    except OSError as error:
        found = (error.strerror or "an unusable path").lower()
        raise _unusable(output, found, "a file that can be written") from None
    return output, plot
