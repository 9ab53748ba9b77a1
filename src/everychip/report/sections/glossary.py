"""What the numbers mean, for a first-time reader."""

from __future__ import annotations

from everychip.report.blocks import Section, Text
from everychip.report.results import Results
from everychip.report.setting import described
from everychip.scores import ACCURACY, Score

WORDS = {
    "Chip": """one programmed instance of the network. Every chip that is programmed with the same weights
        comes out different.""",
    "σ": """(nominal) the spread of one memory cell, as a fraction of its full scale. Papers define it
        differently, so alone it says little.""",
    "σ_W/rms(W)": """(effective) the spread of a programmed weight relative to the typical weight of its
        layer, averaged over the network: the number to compare between methods and between papers.
        **σ_W/max|W|** is the same relative to the largest weight.""",
    "mean ± CI": """the mean {name} over chips and half its 95 % interval, or its two bounds where they are
        not equally far. From three training seeds on, the
        interval is over seeds, chips nested in them, and speaks of the method; below, it speaks of these
        trained networks only. It speaks of new chips on the same test {inputs}.""",
    "KPP5": """the {percentile}: 95 % of chips do better. Over several seeds it is that of the
        chips of several trained networks together ("of 3 networks"), and so are worst and yield.""",
    "worst of n": "the {worst} {name} seen on n chips. It {moves} as n grows, and bounds nothing.",
    "yield": "the share of chips that reach a target {target}.",
    "per-chip": """every chip was measured or written again after it was programmed, which costs a pass on
        each. **population**: all chips hold the same weights, and nothing was measured on any. No table and
        no comparison mixes the two.""",
    "control": "a method that exists only to test the claim of another one.",
    "above chance": """a training whose {above}: more is not said. **at chance**, one whose validation {name}
        is not; **diverged**, one whose loss ran away. Their chips, if any, stay in every mean.""",
}
"""What the words mean of any score; `_of` fills in what differs between scores."""


def section(results: Results, *, target: float | None) -> Section:
    """The glossary."""
    del target
    of = _of(results.score)
    lines = tuple(f"**{word}**: {' '.join(meaning.format(**of).split())}" for word, meaning in WORDS.items())
    lines += tuple(f"**{kind}**: {words}" for kind, words in described(results.method_kinds.values()).items())
    return Section("words", 90, "What the numbers mean", (Text(lines, style="list"),))


def _of(score: Score) -> dict[str, str]:
    """What the words say of one score: its name, and which end of it is the bad one."""
    up = score.higher_is_better
    exact = score == ACCURACY
    return {
        "name": score.name,
        "inputs": "images" if exact else "inputs",
        "percentile": "5th percentile from below" if up else f"95th percentile of {score.name}",
        "worst": "least" if up else "largest",
        "moves": "falls" if up else "rises",
        "target": f"{score.name} (≥ 90 %, say)" if exact else score.name,
        "above": "accuracy is above twice chance (with fewer than ten classes, above chance and ten points)"
        if exact
        else f"{score.name} is better than that of the best answer that does not look at the input",
    }
