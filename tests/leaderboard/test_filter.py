"""The leaderboard's page in a real browser: the filter shows what it says, and nothing is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import everychip as ec
from everychip.leaderboard.page import check_folder, write_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

METHODS = ("IRS, β = 0.1", "Noise injection", "NOISE, <b>twice")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods on one task."""
    folder = tmp_path_factory.mktemp("entries")
    network = ec.models.MLP(hidden=(32,))
    for n, method in enumerate(METHODS):
        nets = {seed: network.build((1, 8, 8), 10, seed=3 * n + seed) for seed in range(3)}
        measured = ec.benchmark(nets, "digits-mlp-gaussian-0.2@1")
        about = {"authors": ("Ada", "Grace", "Emmy")[n], "link": "https://example.org/a-page"}
        entry = measured.entry(
            method=method, recipe="everychip run digits --set seed=0", selection="none", **about
        )
        entry.write(folder / f"{n}.json")
    return write_site(check_folder(folder), folder / "site")


@pytest.fixture
def page(browser: Any, site: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    opened, told, asked = context.new_page(), [], []
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(site.as_uri())
    yield opened
    assert told == []
    assert asked == [site.as_uri()]
    context.close()


def shown(page: Any) -> list[str]:
    cells = page.locator("tr[data-words] td:first-child")
    return [cells.nth(n).inner_text().strip() for n in range(cells.count()) if cells.nth(n).is_visible()]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", 3),
        ("irs", 1),
        ("IRS", 1),
        ("β", 1),
        ("injection noise", 1),
        ("noise", 2),
        ("<b>", 1),
        ("grace", 1),
        ("gaussian digits", 3),
        ("no such method", 0),
    ],
)
def test_the_filter_shows_the_entries_that_have_every_word(page: Any, typed: str, expected: int) -> None:
    page.get_by_label("Show entries with").type(typed)
    assert len(shown(page)) == expected
    assert page.locator("#none").is_visible() == (expected == 0)
    assert page.locator("section").first.is_visible() == (expected > 0)


def test_emptying_the_filter_shows_all_again(page: Any) -> None:
    box = page.get_by_label("Show entries with")
    box.fill("irs")
    box.fill("")
    assert len(shown(page)) == 3


def test_a_phone_scrolls_the_table_and_not_the_page(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = page.locator(".scroll").first
    assert wide.evaluate("box => box.scrollWidth > box.clientWidth")
    assert "scrolls sideways" in wide.evaluate("box => getComputedStyle(box, '::after').content")


def test_a_desktop_needs_no_scrolling(page: Any) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    wide = page.locator(".scroll").first
    assert wide.evaluate("box => box.scrollWidth <= box.clientWidth")
    assert not wide.evaluate("box => box.classList.contains('wide')")


def test_every_cell_leads_to_its_proof(page: Any) -> None:
    cells = page.locator("tbody td")
    leads = [cells.nth(n).locator("a").first.get_attribute("href") for n in range(cells.count())]
    assert len(leads) == 21
    assert all(lead.startswith("entries/") for lead in leads)


def test_every_number_leads_to_a_file_of_the_site(page: Any, site: Path) -> None:
    links = page.eval_on_selector_all(
        "td:not(:first-child) a", "all => all.map(one => one.getAttribute('href'))"
    )
    assert len(links) == 18
    assert all((site.parent / link).is_file() for link in links)
