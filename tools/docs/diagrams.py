"""Write the diagrams of the documentation: boxes on a grid and arrows between them, as SVG.

    python tools/docs/diagrams.py

Each diagram below is its own source: a box is a place on the grid and its words, an arrow names two boxes. A
drawing has a ground of its own and follows the reader's colour scheme, so that it can be read on any page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "explanation" / "diagrams"

COLUMN, ROW, MARGIN = 168, 96, 24
WIDTH, LINE = 132, 17
STYLE = """
.ground { fill: #fff; stroke: #d9dde2; }
.box { fill: #f5f6f8; stroke: #5b6168; }
.digital { fill: #e8f1fb; stroke: #0b5cad; }
.cells { fill: #fdf0e6; stroke: #b3541e; }
.answer { fill: #e9f6f1; stroke: #00674a; }
.arrow { fill: none; stroke: #5b6168; stroke-width: 1.5; }
.head { fill: #5b6168; }
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1c1e21; }
.small { font-size: 12px; fill: #4a5056; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #15181c; stroke: #3a4047; }
  .box { fill: #23282e; stroke: #a3abb5; }
  .digital { fill: #16283b; stroke: #7db8f2; }
  .cells { fill: #3a2415; stroke: #ff9d66; }
  .answer { fill: #12302a; stroke: #5fd0a8; }
  .arrow { stroke: #a3abb5; }
  .head { fill: #a3abb5; }
  text { fill: #e6e8eb; }
  .small { fill: #b9c0c8; }
}
"""


HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>'
)


@dataclass(frozen=True)
class Box:
    """Words at a place; column and row may be fractions.

    kind: box, digital, cells or answer. wide: how many columns.
    """

    name: str
    column: float
    row: float
    words: str
    kind: str = "box"
    wide: float = 1

    @property
    def lines(self) -> list[str]:
        """The words, line by line; the first is the name, what follows is smaller."""
        return self.words.split("\n")

    @property
    def width(self) -> float:
        """In pixels."""
        return WIDTH + (self.wide - 1) * COLUMN

    @property
    def height(self) -> float:
        """In pixels."""
        return 22 + LINE * len(self.lines)

    @property
    def centre(self) -> tuple[float, float]:
        """In pixels."""
        x = MARGIN + WIDTH / 2 + (self.column + (self.wide - 1) / 2) * COLUMN
        return x, MARGIN + ROW / 2 - 8 + self.row * ROW


@dataclass(frozen=True)
class Diagram:
    """title and description are read aloud; caption stands below the boxes."""

    name: str
    title: str
    description: str
    boxes: Sequence[Box]
    arrows: Sequence[tuple[str, str]]
    caption: str = ""

    def svg(self) -> str:
        """The drawing."""
        boxes = {box.name: box for box in self.boxes}
        width = max(box.centre[0] + box.width / 2 for box in self.boxes) + MARGIN
        height = max(box.centre[1] + box.height / 2 for box in self.boxes) + MARGIN
        parts = [_path(boxes[start], boxes[end]) for start, end in self.arrows]
        parts += [_drawn(box) for box in self.boxes]
        if self.caption:
            height += LINE
            parts.append(_text(MARGIN, height - MARGIN / 2 - 2, self.caption, "small", anchor="start"))
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" role="img" aria-labelledby="title desc">'
        )
        return "\n".join(
            [
                head,
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="desc">{escape(self.description)}</desc>',
                f"<style>{STYLE}</style>",
                HEAD,
                f'<rect class="ground" x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="8"/>',
                *parts,
                "</svg>\n",
            ]
        )


def _drawn(box: Box) -> str:
    x, y = box.centre
    left, top = x - box.width / 2, y - box.height / 2
    rect = (
        f'<rect class="{box.kind}" x="{left:g}" y="{top:g}" width="{box.width:g}" '
        f'height="{box.height:g}" rx="6"/>'
    )
    words = [_text(x, top + 24 + LINE * n, line, "small" if n else "") for n, line in enumerate(box.lines)]
    return "<g>" + rect + "".join(words) + "</g>"


def _text(x: float, y: float, words: str, kind: str, *, anchor: str = "middle") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def _path(start: Box, end: Box) -> str:
    """Sideways between neighbours of a row, else down (or up), over a lane between the rows."""
    (x0, y0), (x1, y1) = start.centre, end.centre
    if abs(y0 - y1) < 1:
        side = 1 if x1 > x0 else -1
        points = [(x0 + side * start.width / 2, y0), (x1 - side * end.width / 2, y1)]
    else:
        down = 1 if y1 > y0 else -1
        first, last = y0 + down * start.height / 2, y1 - down * end.height / 2
        # From and into wide boxes straight down, as far as they reach; else along the lane.
        target = _within(end, x0)
        source = _within(start, target)
        lane = last - down * 14
        points = [(source, first), (source, lane), (target, lane), (target, last)]
    line = " L".join(f"{x:g},{y:g}" for x, y in points)
    return f'<path class="arrow" marker-end="url(#head)" d="M{line}"/>'


def _within(box: Box, x: float) -> float:
    """The place at a box's edge that is nearest to x; of a narrow box, its middle."""
    middle, reach = box.centre[0], (box.width - WIDTH) / 2
    return min(max(x, middle - reach), middle + reach)


IRS_LOSS = "L = CE( a·z − a′·β·(γ₁·z₁ + γ₂·z₂), y )"
OVF_LOSS = "L = CE( a·z − a′·β·(γ₁·z₁ + γ₂·z₂ + γ₃·z₃), y )"
COMBINED = "w₁·z₁ + w₂·z₂ + w₃·z, as the policy says"
DIAGRAMS = (
    Diagram(
        name="data-flow",
        title="From a recipe to a report",
        description=(
            "A recipe gives model and data. A method binds the model to the hardware, fit trains it, and the "
            "result is weights. The weights are programmed into many chips, each a mapping of tensors; every "
            "chip runs the test data by functional_call, and its scores are one draw. The draws give a "
            "verdict, and the verdict stands in the report. Nothing flows back."
        ),
        boxes=(
            Box("recipe", 0, 0, "recipe.toml\nExperiment"),
            Box("model", 1, 0, "model, data\nany nn.Module", "digital"),
            Box("bind", 2, 0, "method.bind\non a hardware"),
            Box("fit", 3, 0, "fit\na fresh chip a step"),
            Box("weights", 4, 0, "weights\nsafetensors", "digital"),
            Box("program", 0, 1.25, "program\nhardware, seed"),
            Box("chips", 1, 1.25, "chips 0 … n\nname → tensor", "cells"),
            Box("run", 2, 1.25, "functional_call\nmodel unchanged"),
            Box("scores", 3, 1.25, "scores\none draw a chip"),
            Box("verdict", 4, 1.25, "verdict\nmean, worst, yield", "answer"),
            Box("report", 4, 2.3, "report.html\nwith its recipe", "answer"),
        ),
        arrows=(
            ("recipe", "model"),
            ("model", "bind"),
            ("bind", "fit"),
            ("fit", "weights"),
            ("weights", "program"),
            ("program", "chips"),
            ("chips", "run"),
            ("run", "scores"),
            ("scores", "verdict"),
            ("verdict", "report"),
        ),
        caption="Blue: digital. Orange: on noisy cells. Green: what is claimed.",
    ),
    Diagram(
        name="irs",
        title="IRS: intermediate representation snapshot",
        description=(
            "A batch passes three layers on noisy cells to the logits z. Small classifiers, the exits, hang "
            "on the inner layers and give logits z1 and z2. The loss is the cross-entropy of z, less beta "
            "times the weighted sum of the exits' logits: negative feedback. The exits are dropped after "
            "training."
        ),
        boxes=(
            Box("x", 0, 0, "batch x"),
            Box("one", 1, 0, "layer 1\nnoisy cells", "cells"),
            Box("two", 2, 0, "layer 2\nnoisy cells", "cells"),
            Box("three", 3, 0, "layer 3\nnoisy cells", "cells"),
            Box("z", 4, 0, "logits z\nof the backbone"),
            Box("exit1", 1, 1.25, "exit 1\nlogits z₁", "cells"),
            Box("exit2", 2, 1.25, "exit 2\nlogits z₂", "cells"),
            Box("loss", 1, 2.5, f"{IRS_LOSS}\nthe exits are subtracted: negative feedback", "answer", 4),
        ),
        arrows=(
            ("x", "one"),
            ("one", "two"),
            ("two", "three"),
            ("three", "z"),
            ("one", "exit1"),
            ("two", "exit2"),
            ("exit1", "loss"),
            ("exit2", "loss"),
            ("z", "loss"),
        ),
        caption="One forward a step. The exits (orange, below) are dropped after training.",
    ),
    Diagram(
        name="ovf",
        title="OVF: oriented variational forward",
        description=(
            "The same batch is run by four chips of the same weights: one at the nominal sigma, which gives "
            "the logits z, and three noisier ones at sigma plus 0.15, 0.10 and 0.05, which give z1, z2 and "
            "z3. The loss is the cross-entropy of z, less beta times the weighted sum of the noisier logits."
        ),
        boxes=(
            Box("x", 0.5, 0, "batch x\nand one set of weights", "box", 3),
            Box("c0", 0, 1.25, "chip at σ\nlogits z", "cells"),
            Box("c1", 1, 1.25, "at σ + 0.15\nlogits z₁", "cells"),
            Box("c2", 2, 1.25, "at σ + 0.10\nlogits z₂", "cells"),
            Box("c3", 3, 1.25, "at σ + 0.05\nlogits z₃", "cells"),
            Box("loss", 0, 2.5, f"{OVF_LOSS}\nwhat the noisier chips say is subtracted", "answer", 4),
        ),
        arrows=(
            ("x", "c0"),
            ("x", "c1"),
            ("x", "c2"),
            ("x", "c3"),
            ("c0", "loss"),
            ("c1", "loss"),
            ("c2", "loss"),
            ("c3", "loss"),
        ),
        caption="Four forwards a step. Nothing is left of it after training but the weights.",
    ),
    Diagram(
        name="multi-exit",
        title="A network whose exits stay",
        description=(
            "An input passes the layers to the backbone's logits. Exits on inner layers give logits of their "
            "own and stay in the deployed network. The answer is a combination of all logits with digital "
            "weights, or, as the policy says, the backbone alone, one exit alone, or the first exit that is "
            "sure enough, after which the later layers need not run."
        ),
        boxes=(
            Box("x", 0, 0, "input x"),
            Box("one", 1, 0, "layer 1", "cells"),
            Box("two", 2, 0, "layer 2", "cells"),
            Box("three", 3, 0, "layer 3", "cells"),
            Box("z", 4, 0, "logits z"),
            Box("exit1", 1, 1.25, "exit 1\nlogits z₁", "cells"),
            Box("exit2", 2, 1.25, "exit 2\nlogits z₂", "cells"),
            Box("combine", 1, 2.5, f"{COMBINED}\ndigital weights and thresholds", "digital", 4),
            Box("answer", 1, 3.6, "the answer\ncombined · last · only · early · per_chip", "answer", 4),
        ),
        arrows=(
            ("x", "one"),
            ("one", "two"),
            ("two", "three"),
            ("three", "z"),
            ("one", "exit1"),
            ("two", "exit2"),
            ("exit1", "combine"),
            ("exit2", "combine"),
            ("z", "combine"),
            ("combine", "answer"),
        ),
        caption="Answering early saves the layers behind the exit.",
    ),
)


def main() -> None:
    """Write every diagram."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for diagram in DIAGRAMS:
        path = FOLDER / f"{diagram.name}.svg"
        path.write_text(diagram.svg(), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
