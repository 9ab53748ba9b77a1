"""An entry of the leaderboard: one JSON file of what is claimed, what every chip reached, and the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from everychip.config.component import Config, refusal
from everychip.errors import shown
from everychip.leaderboard.task import LeaderboardTask, shipped
from everychip.statistics.verdict import Verdict, summarize
from everychip.storage.files import SEAL, read_json, write_record
from everychip.study.records import Hash

FORMAT = "everychip-leaderboard/1"
_SHORTEST = 20  # letters of a recipe
_WRITTEN = 0.01  # images by which a share of all of them may be off, rounded as float32 is


def _one_line(text: str) -> str:
    """Refuse what a page or a terminal would not show as it is, and what shows nothing."""
    if not text.isprintable():
        raise refusal((), shown(text), "one line of printable characters")
    if text and not any(character.isalnum() for character in text):
        raise refusal((), shown(text), "words, or nothing")
    return text


def _web_page(link: str) -> str:
    """Refuse an address that leads elsewhere than to a page, or seems to lead elsewhere than it does."""
    try:
        parts = urlsplit(link)
        page = bool(parts.scheme in ("http", "https") and parts.hostname) and parts.username is None
    except ValueError:
        page = False
    if link and (not page or any(character.isspace() for character in link)):
        raise refusal((), shown(link), "the address of a web page: https://…")
    return link


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=20_000)]
Line = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
Link = Annotated[Line, AfterValidator(_web_page)]


class Training(Config):
    """One training seed: the SHA-256 of its weights, its digital accuracy, and that of every chip."""

    seed: int = Field(ge=0)
    weights: Hash
    digital: Share
    accuracy: tuple[Share, ...] = Field(min_length=1, max_length=100_000)


class Entry(Config):
    """What one method reached on one task.

    method: its name. trainings: one for each seed. recipe: all that makes the weights again, as text (a TOML
    recipe, or the commands of other code). selection: on what the epoch and the settings were chosen:
    "validation" data that are no test data, or "none", the last epoch of settings fixed before.
    claimed: the mean accuracy that the method's authors report, if any. link: a page about it.
    unreliable: why the number is not to be trusted, although it was measured; empty where nothing is known.
    """

    format: Literal["everychip-leaderboard/1"] = "everychip-leaderboard/1"
    task: Line
    method: Line = Field(min_length=1)
    authors: Line = ""
    trainings: tuple[Training, ...]
    recipe: Text = ""
    selection: Line = ""
    claimed: Share | None = None
    link: Link = ""
    unreliable: Line = ""
    environment: dict[str, Any] = Field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The statistics of all chips; over seeds where there are three or more."""
        return summarize({training.seed: training.accuracy for training in self.trainings})

    @property
    def digital(self) -> float:
        """The mean digital accuracy of the trainings."""
        return sum(training.digital for training in self.trainings) / len(self.trainings)

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for JSON.

        Returns:
            What `Entry.model_validate` takes back.
        """
        return self.model_dump(mode="json")

    def write(self, path: str | Path) -> Path:
        """Write the entry as a JSON file, with the SHA-256 of what it says.

        Args:
            path: the file.

        Returns:
            The same path.
        """
        write_record(Path(path), self.facts())
        return Path(path)

    def refusals(self) -> tuple[str, ...]:
        """Why it may not enter, a line for each reason; none where it may.

        Returns:
            Sentences without the name of the file.
        """
        if self.task not in shipped():
            return (f"task: found {self.task!r}; expected a shipped one: {', '.join(shipped())}",)
        task = LeaderboardTask.of(self.task)
        return (*self._of_trainings(task), *self._of_claims())

    def _of_trainings(self, task: LeaderboardTask) -> tuple[str, ...]:
        seeds = [training.seed for training in self.trainings]
        chips = sorted({len(training.accuracy) for training in self.trainings})
        hashes = {training.weights for training in self.trainings}
        few, partial = len(set(seeds)) < task.seeds, self._of_no_image(task)
        return tuple(
            words
            for wrong, words in (
                (few, f"trainings: found {len(set(seeds))} seeds; expected at least {task.seeds}"),
                (len(set(seeds)) < len(seeds), "trainings: found a seed twice; expected each once"),
                (len(hashes) < len(seeds), "trainings: found the same weights twice; expected other ones"),
                (chips != [task.chips], f"trainings: found {chips} chips; expected {task.chips} for each"),
                (bool(partial), partial),
            )
            if wrong
        )

    def _of_no_image(self, task: LeaderboardTask) -> str:
        """The first accuracy that is no whole number of the task's test images, in words; else nothing."""
        n = task.images
        if n is None:
            return ""
        for number, training in enumerate(self.trainings):
            for share in (training.digital, *training.accuracy):
                if abs(share * n - round(share * n)) > _WRITTEN:
                    found = f"trainings.{number}: found an accuracy of {share:g}"
                    return f"{found}; expected a number of {n} test images"
        return ""

    def _of_claims(self) -> tuple[str, ...]:
        chosen = f"selection: found {self.selection!r}; expected 'validation' or 'none'"
        letters = sum(map(str.isalnum, self.recipe))
        rules = (
            (
                self.selection not in ("validation", "none"),
                f"{chosen}: nothing may be chosen on test data or on the chips of the table",
            ),
            (
                letters < _SHORTEST,
                "recipe: found none; expected all that makes the weights again",
            ),
        )
        return tuple(words for wrong, words in rules if wrong)


def read_entry(path: str | Path) -> Entry:
    """Read and check the form of an entry; whether it may enter, `Entry.refusals` says.

    Args:
        path: a JSON file that `Entry.write` wrote.

    Returns:
        The entry.

    Raises:
        StoreError: where the file is damaged, changed, or of another format.
        ConfigError: where it says what an entry cannot say; a line for each mistake.
    """
    place = Path(path)
    said = read_json(place, form=FORMAT, sealed=True, remedy="write it again: Entry.write")
    return Entry.read({key: value for key, value in said.items() if key != SEAL}, where=str(place))
