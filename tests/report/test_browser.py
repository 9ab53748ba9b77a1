"""The page in a real browser: no error, no request, methods and targets that move what they should."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everychip.report.html import write_report
from everychip.report.reading import load
from everychip.report.results import Results
from everychip.statistics.percentiles import yield_at

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def page_file(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(study, output=tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def results(study: Path) -> Results:
    return load(study)


class Opened:
    """A page, and what it requested or complained of."""

    def __init__(self, browser: Any, file: Path, viewport: dict[str, int] = WIDE, **options: Any) -> None:
        self.context = browser.new_context(viewport=viewport, **options)
        self.page = self.context.new_page()
        self.told: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        if options.get("java_script_enabled", True):
            self.page.wait_for_selector("main[data-ready=yes]", timeout=60_000)

    def _heard(self, message: Any) -> None:
        # Vega-Lite says so of every chart with a row for each method, whatever its size is set to.
        if "discrete height" not in message.text:
            self.told.append(f"{message.type}: {message.text}")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["1280", "390"])
def test_the_page_opens_without_a_complaint_or_a_request(
    browser: Any, page_file: Path, viewport: dict[str, int], scheme: str
) -> None:
    with Opened(browser, page_file, viewport, color_scheme=scheme) as opened:
        assert opened.told == []
        assert [url for url in opened.asked if not url.startswith(("data:", "blob:"))] == [page_file.as_uri()]
        assert opened.page.locator(".panel").count() == opened.page.locator(".panel svg.marks").count() > 3
        width = opened.page.evaluate("document.documentElement.scrollWidth")
        assert width == viewport["width"]


def test_the_slider_shows_the_yield_of_the_target_it_stands_at(
    browser: Any, page_file: Path, results: Results
) -> None:
    groups = [group for panel in results.panels for group in panel.at_sigma]
    with Opened(browser, page_file) as opened:
        slider = opened.page.locator(".yields input")
        seen = []
        for place in ("20", "60"):
            slider.fill(place)
            target = float(opened.page.locator(".yields output").inner_text().removesuffix(" %")) / 100
            shares = opened.page.locator(".yields td.share").all_inner_texts()
            assert len(shares) == len(groups)
            for group, share in zip(groups, shares, strict=True):
                chips = [value for values in group.by_seed.values() for value in values]
                assert float(share.split()[0]) == pytest.approx(
                    100 * yield_at(chips, target=target).estimate, abs=0.051
                )
            seen.append((target, shares))
        assert seen[0][0] < seen[1][0]
        assert seen[0][1] != seen[1][1]
        assert opened.told == []


def test_the_slider_answers_to_keys_and_moves_the_line_in_the_chart(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file) as opened:
        slider = opened.page.locator(".yields input")
        rule = opened.page.locator("#figure-chips .panel .mark-rule.role-mark line").first
        before = (
            rule.evaluate("line => line.getBoundingClientRect().x"),
            slider.get_attribute("aria-valuetext"),
        )
        slider.focus()
        for _ in range(5):
            opened.page.keyboard.press("ArrowLeft")
        opened.page.wait_for_timeout(200)
        after = (
            rule.evaluate("line => line.getBoundingClientRect().x"),
            slider.get_attribute("aria-valuetext"),
        )
        assert after[0] < before[0]
        assert after[1] != before[1]


def test_a_method_is_hidden_in_every_chart_and_shown_again(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file) as opened:
        page = opened.page

        def lines() -> int:
            return int(page.locator("#figure-accuracy .panel").first.locator(".mark-line path").count())

        def ticks() -> list[str]:
            labels = page.locator("#figure-chips .panel").first.locator(".role-axis-label text")
            return [text for text in labels.all_text_contents() if text.startswith(("irs", "ovf"))]

        irs = page.locator("#figure-accuracy button[data-method=irs]")
        assert (lines(), ticks()) == (6, ["irs", "ovf"])
        irs.focus()
        page.keyboard.press("Enter")
        page.wait_for_timeout(300)
        assert (lines(), ticks()) == (5, ["ovf"])
        pressed = page.locator("button[data-method=irs]")
        assert {button.get_attribute("aria-pressed") for button in pressed.all()} == {"false"}
        assert not page.locator(".yields tr[data-method=irs]").first.is_visible()
        irs.click(modifiers=["Shift"])
        page.wait_for_timeout(300)
        assert (lines(), ticks()) == (1, ["irs"])
        irs.click()
        page.wait_for_timeout(300)
        assert (lines(), ticks()) == (6, ["irs", "ovf"])
        assert opened.told == []


def test_no_mark_of_a_curve_leaves_its_frame(browser: Any, page_file: Path) -> None:
    """A band that is clipped would look narrower than it is."""
    with Opened(browser, page_file) as opened:
        outside = opened.page.evaluate(
            """() => [...document.querySelectorAll("#figure-accuracy .panel")].flatMap((panel) => {
              const frame = panel.querySelector(".role-frame path.background").getBoundingClientRect();
              return [...panel.querySelectorAll(".mark-area path, .mark-line path")]
                .map((mark) => mark.getBoundingClientRect())
                .filter((box) => box.top < frame.top - 2 || box.bottom > frame.bottom + 2)
                .map((box) => [box.top, box.bottom, frame.top, frame.bottom]);
            })"""
        )
        assert outside == []


def test_a_wide_table_on_a_phone_says_that_it_scrolls_and_scrolls_by_keys(
    browser: Any, page_file: Path
) -> None:
    with Opened(browser, page_file, PHONE) as opened:
        wide = opened.page.locator(".scroll.wide:visible")
        assert wide.count() > 0
        first = wide.first
        assert "scrolls" in first.evaluate("box => getComputedStyle(box, '::after').content")
        first.focus()
        for _ in range(3):
            opened.page.keyboard.press("ArrowRight")
        opened.page.wait_for_timeout(300)
        assert first.evaluate("box => box.scrollLeft") > 0


def test_no_row_on_a_phone_is_taller_than_what_it_shows(browser: Any, page_file: Path) -> None:
    """A cell that is out of sight must not stretch a row that then looks empty."""
    with Opened(browser, page_file, PHONE) as opened:
        tall = opened.page.evaluate(
            """() => [...document.querySelectorAll("#controls table tr, #accuracy table tr")]
                .map((row) => row.getBoundingClientRect().height).filter((height) => height > 66)"""
        )
        assert tall == []


def test_without_javascript_every_number_is_readable(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, java_script_enabled=False) as opened:
        page = opened.page
        assert page.locator("noscript").first.is_visible()
        assert not page.locator(".yields .slider").is_visible()
        assert page.locator(".yields td.share").first.is_visible()
        assert page.locator("#accuracy td").count() > 50


def test_everything_that_can_be_pressed_has_a_name(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file) as opened:
        names = opened.page.evaluate(
            """() => [...document.querySelectorAll("button, input, summary, a, [tabindex='0'], svg.marks")]
                .map((one) => [one.tagName, (one.getAttribute("aria-label") || one.labels?.[0]?.textContent
                    || one.textContent || one.getAttribute("title") || "").trim()])"""
        )
        assert [pair for pair in names if not pair[1]] == []
        headings = opened.page.locator("h1, h2, h3").evaluate_all(
            "all => all.map((h) => Number(h.tagName[1]))"
        )
        assert headings[0] == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(headings))


def test_on_paper_the_charts_stay_and_the_handles_go(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, color_scheme="dark") as opened:
        opened.page.emulate_media(media="print")
        assert not opened.page.locator(".yields .slider").is_visible()
        assert opened.page.locator("#figure-accuracy svg.marks").first.is_visible()
        assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_on_a_phone_the_result_of_every_comparison_is_in_sight_and_no_number_is_cut(
    browser: Any, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    one = write_study(tmp_path / "study", variants=("plain",), trained=(0.4,), sigmas=(0.0, 0.4), chips=20)
    with Opened(browser, write_report(one), PHONE) as opened:
        table = opened.page.locator("#controls table.has-brief").first
        assert table.locator("td.brief").count() > 5
        for column in ("td.value .whole", "td.brief"):
            for cell in table.locator(column).all():
                box = cell.bounding_box()
                assert box is not None
                assert box["x"] + box["width"] <= PHONE["width"]
                assert box["height"] < 24 or column == "td.brief"  # an interval stands on one line


def test_on_a_phone_the_mean_of_every_variant_is_in_sight_and_the_page_is_no_wider(
    browser: Any, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    """Context columns come first; what makes room for the result is the effective noise."""
    one = write_study(
        tmp_path / "study", variants=("plain", "ramp + clip"), sigmas=(0.0, 0.2, 0.4), seeds=2, chips=20
    )
    story = json.loads((one / "study.json").read_text())
    story["runs"][0] |= {"status": "failed", "words": f"/somewhere/{'very/long/' * 20}checkpoint: damaged"}
    (one / "study.json").write_text(json.dumps({key: story[key] for key in story if key != "sha256"}))
    with Opened(browser, write_report(one), PHONE) as opened:
        table = opened.page.locator("#accuracy .table", has_text="At the training").first
        names = table.locator("th:visible").all_inner_texts()
        assert "variant" in names
        place = next(i for i, name in enumerate(names) if name.startswith("mean"))
        right = table.evaluate(
            """(table, place) => [...table.querySelectorAll("tr")]
                .map((row) => [...row.children].filter((cell) => cell.offsetParent)[place])
                .map((cell) => cell.getBoundingClientRect().right)""",
            place,
        )
        assert max(right) <= PHONE["width"]
        assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
