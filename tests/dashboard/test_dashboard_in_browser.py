"""The dashboard in a real Chromium: it is clicked through, nothing is refused or fetched from elsewhere, nothing is wider than the
window."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browsed import MARKUP, runs_until_stopped

import fasttune as tune

pytestmark = pytest.mark.browser

WIDE, NARROW = (1400, 900), (400, 800)
# plotly brings rules for maps, of which there are none here, in an element of style, which is refused
MAPS = "Applying inline style violates"


class Seen:
    """A page, and what went wrong while it was open."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address
        self.wrong: list[str] = []
        self.refused_styles = 0
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", self._heard)
        page.on("dialog", lambda dialog: (self.wrong.append("a dialog opened"), dialog.dismiss()))
        home = address.partition("?")[0]
        page.on("request", lambda asked: None if asked.url.startswith((home, "data:", "blob:")) else self.wrong.append(asked.url))

    def _heard(self, said: Any) -> None:
        if said.type not in ("error", "warning"):
            return
        if MAPS in said.text:
            self.refused_styles += 1
        else:
            self.wrong.append(said.text)

    def go(self, place: str) -> None:
        self.page.evaluate("place => { location.hash = place; }", place)

    def is_well(self) -> None:
        assert self.wrong == []
        assert self.refused_styles <= 1
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert self.page.evaluate("window.injected") is None
        assert self.page.query_selector("#view img, #view script, aside img, aside script") is None


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address that the command prints."""
    command = [sys.executable, "-m", "fasttune", "dashboard", str(folder), "--no-browser", "--control"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder) as printed:
        yield printed


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("FASTTUNE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Callable[..., Seen]]:
    """Opens the printed address in a new window."""
    contexts = []

    def open_page(size: tuple[int, int] = WIDE, scheme: str = "light", address: str = address) -> Seen:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        context.set_default_timeout(60_000)
        contexts.append(context)
        seen = Seen(context.new_page(), address)
        seen.page.goto(address)
        seen.page.wait_for_selector(".experiment .best")
        return seen

    yield open_page
    for context in contexts:
        context.close()


def test_the_token_leaves_the_address_and_a_reload_needs_none(opened: Callable[..., Seen]) -> None:
    seen = opened()
    assert "token" not in seen.page.url
    seen.page.reload()
    seen.page.wait_for_selector(".experiment .best")
    assert seen.page.evaluate("document.cookie") == ""  # scripts do not see it
    seen.is_well()


def test_from_the_list_to_an_experiment_and_its_best_trial(opened: Callable[..., Seen]) -> None:
    page = (seen := opened()).page
    page.fill("input[type=search]", "popul")
    page.wait_for_function("() => document.querySelectorAll('.experiment').length === 1")
    page.click(".experiment .name a")
    page.wait_for_selector(".big")
    best = page.inner_text(".card .soft a")
    assert page.inner_text("h1").startswith("population")
    page.click(".card .soft a")
    page.wait_for_selector("aside.trial .js-plotly-plot .lines")
    assert page.inner_text("aside.trial h2") == best
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("aside.trial h3 button")
    page.wait_for_selector("text=Copied")
    assert "lr" in json.loads(page.evaluate("navigator.clipboard.readText()"))
    page.keyboard.press("Escape")
    page.wait_for_selector("aside.trial", state="detached")
    assert page.url.endswith("/trials")
    page.go_back()
    page.wait_for_selector("aside.trial")
    seen.is_well()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_of_several_metrics_the_front_is_shown(opened: Callable[..., Seen], tmp_path: Path, size: tuple[int, int]) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"], size=-config["x"] if config["x"] > 0.5 else 1.0)

    told: dict[str, Any] = {"metric": ["loss", "size"], "mode": "min", "storage_path": str(tmp_path)}
    told |= {"executor": "inline", "verbose": 0}
    found = tune.run(train, name="two", config={"x": tune.uniform(0, 1)}, num_samples=40, search_alg="nsga2", seed=1, **told)
    tune.run(train, name="none", config={"x": tune.uniform(0, 1)}, num_samples=2, constraints="size >= 9", seed=1, **told)
    with serving(tmp_path) as address:
        seen = opened(size=size, address=address)
        lines = seen.page.inner_text(".experiments")
        assert f"{len(found.best_trials)}\non the front of loss (min), size (min)" in lines
        assert "no front, as no trial holds its constraints" in lines
        seen.go("#/e/two")
        seen.page.wait_for_selector(".card table.rows a")
        assert seen.page.inner_text(".card .big") == f"{len(found.best_trials)} trials"
        assert seen.page.locator(".card table.rows tbody tr").count() == 12
        assert f"and {len(found.best_trials) - 12} trials between them" in seen.page.inner_text(".card")
        seen.page.wait_for_selector(".pictures .js-plotly-plot")
        assert seen.page.inner_text(".pictures h3 >> nth=0").startswith("Trade-offs")
        seen.page.click(".card table.rows a >> nth=0")
        seen.page.wait_for_selector("aside.trial h2")
        assert seen.page.inner_text("aside.trial h2") == found.best_trials[0].trial_id
        seen.is_well()


def test_the_table_sorts_filters_and_turns_pages(opened: Callable[..., Seen]) -> None:
    page = (seen := opened()).page
    seen.go("#/e/search/trials")
    page.wait_for_selector("table.rows tbody tr")
    assert "1 to 50 of 80" in page.inner_text(".pages")
    page.click("th button[title='config/lr']")
    page.wait_for_selector("th[aria-sort=ascending]")
    place = page.evaluate("[...document.querySelectorAll('.rows th button')].findIndex(one => one.title === 'config/lr')")
    column = f"[...document.querySelectorAll('.rows tbody tr')].map(row => Number(row.children[{place}].textContent))"
    shown = page.evaluate(column)
    assert shown == sorted(shown)
    page.click("th button[title='config/lr']")
    page.wait_for_selector("th[aria-sort=descending]")
    assert page.evaluate(column)[0] >= shown[-1]
    page.click("text=Next")
    page.wait_for_function("() => document.querySelector('.pages').textContent.includes('51 to 80 of 80')")
    page.fill("input[aria-label=filter]", "lr < 0.5 and optimizer/name = adam")
    page.wait_for_function("() => document.querySelector('.tools .soft').textContent.includes(' of 80 trials')")
    assert all(value < 0.5 for value in page.evaluate(column))
    page.fill("input[aria-label=filter]", "nothing < 0.5")
    page.wait_for_selector("[role=alert]:not([hidden])")
    assert "no column 'nothing'" in page.inner_text("[role=alert]")
    assert all("400" in line for line in seen.wrong)
    seen.wrong.clear()
    page.fill("input[aria-label=filter]", "")
    page.wait_for_selector("[role=alert]", state="hidden")
    page.select_option("select[aria-label=status]", "ERROR")
    page.wait_for_function("() => [...document.querySelectorAll('.rows tbody tr')].every(row => row.textContent.includes('failed'))")
    seen.is_well()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_picture_is_drawn(opened: Callable[..., Seen], size: tuple[int, int], scheme: str) -> None:
    page = (seen := opened(size, scheme)).page
    seen.go("#/e/search")
    page.wait_for_selector(".picture")
    for section in page.query_selector_all(".picture"):
        if section.is_visible():
            page.evaluate("one => one.scrollIntoView()", section)  # it may be hidden meanwhile, when there is nothing to draw
            page.wait_for_function("one => !one.matches('.waiting') || one.matches('.missing')", arg=section)
    drawn = page.evaluate("[...document.querySelectorAll('.picture:not(.missing)')].map(one => one.id)")
    assert len(drawn) == 10
    for one in drawn:
        assert page.evaluate("id => document.getElementById(id).querySelector('.js-plotly-plot svg') !== null", one)
    assert "lineage" not in " ".join(drawn)
    page.click("details:last-child summary")
    assert "Who copied whom" in page.inner_text(".tab > details")
    shades = """() => {
      const sum = text => (text.match(/\\d+/g) || []).slice(0, 3).reduce((a, b) => a + Number(b), 0);
      return sum(getComputedStyle(document.querySelector(".js-plotly-plot .xtick text")).fill)
        - sum(getComputedStyle(document.body).backgroundColor);
    }"""
    assert (page.evaluate(shades) > 450) == (scheme == "dark")
    page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    page.wait_for_function(f"wanted => (({shades})() > 450) === wanted", arg=scheme == "light")
    seen.is_well()


def test_markup_of_an_experiment_is_text_everywhere(opened: Callable[..., Seen]) -> None:
    page = (seen := opened()).page
    home = f"#/e/{quote(quote('a<b>&c', safe=''), safe='')}"
    seen.go(home)
    page.wait_for_selector("#picture-history .point")
    assert page.inner_text("h1").startswith("a<b>&c")
    point = page.query_selector("#picture-history .point")
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#picture-history .hoverlayer .hovertext")
    assert "<img src=x" in page.text_content("#picture-history .hoverlayer")
    seen.is_well()
    seen.go(f"{home}/failures")
    page.wait_for_selector("details summary b")
    assert page.inner_text("details summary b") == f"RuntimeError: {MARKUP} & <script>alert(2)</script>"
    page.click("details summary")
    assert "Traceback" in page.inner_text("details pre")
    seen.go(f"{home}/trials/0")
    page.wait_for_selector("aside.trial dl")
    assert MARKUP in page.inner_text("aside.trial")
    assert MARKUP in page.inner_text("table.rows thead")
    seen.go(f"{home}/search")
    page.wait_for_selector("td.words")
    seen.is_well()


def test_experiments_are_compared(opened: Callable[..., Seen]) -> None:
    page = (seen := opened()).page
    assert page.is_disabled("button.main")
    page.check("input[aria-label='compare search']")
    page.check("input[aria-label='compare population']")
    page.click("button.main")
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .lines').length === 2")
    assert page.inner_text("table.sides thead").split() == page.evaluate(
        "[...document.querySelectorAll('table.sides thead a')].map(one => one.textContent)"
    )
    page.select_option("select[aria-label='horizontal axis']", "trials")
    page.wait_for_function("() => document.querySelector('.xtitle').textContent.startsWith('number of the trial')")
    seen.is_well()


def test_the_page_says_that_the_server_has_gone(opened: Callable[..., Seen]) -> None:
    page = (seen := opened()).page
    seen.go("#/e/search")
    page.wait_for_selector("#picture-curves .js-plotly-plot")
    page.context.set_offline(True)
    page.wait_for_selector("#notice:not([hidden])")
    assert "does not answer" in page.inner_text("#notice")
    assert page.is_visible("#picture-curves .js-plotly-plot")  # what is shown stays
    page.evaluate("document.getElementById('picture-edf').scrollIntoView()")
    page.context.set_offline(False)
    page.wait_for_selector("#notice", state="hidden")
    page.wait_for_selector("#picture-edf .js-plotly-plot")
    assert all("ERR_INTERNET_DISCONNECTED" in line for line in seen.wrong)


def test_broken_experiments_say_why(opened: Callable[..., Seen]) -> None:
    page = (seen := opened(NARROW)).page
    page.wait_for_selector("text=file is not a database")
    seen.go("#/e/junk")
    page.wait_for_selector("text=This cannot be shown")
    assert "not a database" in page.inner_text("#view")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_run_is_followed_and_stopped(opened: Callable[..., Seen], tmp_path: Path) -> None:
    run = runs_until_stopped(tmp_path)
    try:
        with serving(tmp_path) as address:
            page = (seen := opened(address=address)).page
            page.wait_for_selector(".experiment .state.running")
            page.click(".experiment .name a")
            page.wait_for_selector("#picture-curves .js-plotly-plot")
            reports = "() => [...document.querySelectorAll('.card dt')].find(one => one.textContent === 'reports').nextSibling"
            before = page.evaluate(f"({reports})().textContent")
            page.wait_for_function(f"before => ({reports})().textContent !== before", arg=before)
            seen.go("#/e/endless/trials/0")
            page.click("aside.trial button.stop")
            page.click("dialog button[value='']")  # not yet
            page.click("aside.trial button.stop")
            page.click("dialog button[value=report]")
            page.wait_for_selector("text=was asked to stop")
            page.wait_for_selector("aside.trial .dot.finished")
            page.wait_for_selector("aside.trial button.stop", state="detached")
            page.keyboard.press("Escape")
            page.click("header button.stop")
            page.click("dialog button[value=end]")
            page.wait_for_selector("h1 .state.finished")
            assert page.query_selector("header button.stop") is None
            assert run.wait(60) == 0
            seen.is_well()
    finally:
        run.kill()
        run.wait()
