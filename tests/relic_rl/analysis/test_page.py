"""The page in a real browser, headless: what a reader sees on a wide and a narrow screen."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from envs.corruptions import CORRUPTIONS
from envs.games import ATARI57
from relic_rl.analysis.published import published_scores
from relic_rl.analysis.report import write_report
from relic_rl.analysis.scores import human_normalized
from relic_rl.records.robustness import Judgement, save_judgement

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
PATIENCE_SECONDS = 120
"""Of a busy machine's browser."""
SCORES = {game: published_scores("curl")[game][0] for game in list(ATARI57)[40:]}
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: `apt-get install chromium` brings it"
)

OVERFLOWING = """
() => [...document.querySelectorAll("body *")]
  .filter((e) => !e.closest(".wide, figure") || e.matches(".wide, figure"))
  .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map((e) => e.outerHTML.slice(0, 80))
"""
PICTURES = """
() => [...document.images].map((image) => {
  const box = image.getBoundingClientRect();
  return [image.alt, image.naturalWidth, image.naturalHeight, box.width, box.height];
})
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, write_run: Any) -> Path:
    """So many games that the learning curves are a grid; a name too long for any screen."""
    runs = tmp_path_factory.mktemp("page") / f"a-very-long-name-{'x' * 60}"
    for game, score in SCORES.items():
        run = runs / f"{ATARI57[game].slug}-s0"
        write_run(run, game, 0, (ATARI57[game].random, score))
        for judgement in judgements(score):
            save_judgement(run, judgement)
    return write_report([runs], tmp_path_factory.mktemp("report"), ["relic", "r2d2"]).page


def judgements(score: float) -> Iterator[Judgement]:
    """Clean, under every corruption, and in another mode."""
    clean = Judgement(8000, "noop", 0.001, 0, 1, 0, 0, True, "none", 0, score, None, (score,))
    yield clean
    for number, name in enumerate(CORRUPTIONS):
        yield replace(clean, corruption=name, severity=3, kept=number / 12)
    yield replace(clean, mode=1, default_mode=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments, timeout=PATIENCE_SECONDS * 1000
        )
        yield browser
        browser.close()


def opened(browser: Browser, report: Path, width: int) -> tuple[Page, list[str]]:
    """The page at a width, and everything that it complains of or asks the network for."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    own = ("data:", report.as_uri())
    heard: list[str] = []

    def hear_request(request: Request) -> None:
        if not request.url.startswith(own):
            heard.append(f"request: {request.url[:80]}")

    page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("request", hear_request)
    page.goto(report.as_uri(), wait_until="networkidle")
    page.evaluate("new Promise(requestAnimationFrame)")
    return page, heard


@pytest.mark.parametrize("width", [1400, 420])
def test_the_page_is_quiet_fits_the_screen_and_shows_every_picture(
    browser: Browser, report: Path, width: int
) -> None:
    page, heard = opened(browser, report, width)
    pictures = page.evaluate(PICTURES)

    assert heard == []
    assert len(pictures) == 5
    assert all(min(sizes) > 100 for _, *sizes in pictures), pictures
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []


def test_the_table_of_games_sorts_by_every_column_both_ways(browser: Browser, report: Path) -> None:
    page, heard = opened(browser, report, 1400)
    heads = page.locator("th[data-kind]")
    table = "table:has(th[data-kind]) tbody"

    assert heads.count() == 6
    for column in range(heads.count()):
        cells = page.locator(f"{table} td:nth-child({column + 1})")
        heads.nth(column).locator("button").click()
        first = cells.evaluate_all("cells => cells.map((cell) => cell.dataset.key)")
        heads.nth(column).locator("button").click()
        second = cells.evaluate_all("cells => cells.map((cell) => cell.dataset.key)")
        keys = first if column == 0 else [float(key) for key in first]

        assert len(keys) == len(SCORES) == 17
        assert keys == sorted(keys, reverse=column > 0)
        assert [k if column == 0 else float(k) for k in second] == sorted(keys, reverse=column == 0)
        if column == 3:  # by its percentages, not by its points
            r2d2 = published_scores("r2d2")
            lowest = min(SCORES, key=lambda game: human_normalized(game, r2d2[game][0]))
            assert page.locator(f"{table} td").first.inner_text() == lowest
    assert heard == []


def test_on_a_narrow_screen_ones_own_scores_are_in_sight(browser: Browser, report: Path) -> None:
    page, _ = opened(browser, report, 420)

    tables = page.locator("table")
    assert tables.count() == 4
    for table in tables.all():
        own = table.locator("tbody tr:first-child td:nth-child(2)").bounding_box()
        assert own is not None
        assert 0 < own["x"] < own["x"] + own["width"] <= 420


def test_a_page_that_reached_for_the_network_would_be_stopped_and_heard(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    reaching = tmp_path / "report.html"
    outside = '<img src="http://127.0.0.1:9/x.png"><script>document.title = "run"</script>'
    reaching.write_text(report.read_text().replace("<footer>", f"{outside}<footer>"))

    page, heard = opened(browser, reaching, 1400)

    def refused() -> int:
        return sum("Content Security Policy" in line for line in heard)

    give_up = time.monotonic() + PATIENCE_SECONDS
    while refused() < 2 or "request: http://127.0.0.1:9/x.png" not in heard:
        assert time.monotonic() < give_up, heard
        page.wait_for_timeout(50)
    assert refused() == 2
    assert page.title() != "run"
