"""The report page in a real Chromium without a network: everything is drawn, nothing is fetched, nothing overlaps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import fasttune.plot as plot
from fasttune.plot.data import ExperimentData

pytestmark = pytest.mark.browser

WIDE, NARROW = (1400, 900), (400, 800)

# Boxes of the tick labels of each horizontal axis, those that are not turned, from left to right.
TICKS = """() => [...document.querySelectorAll(".drawing .xaxislayer-above")].map(layer =>
  [...layer.querySelectorAll("text")].filter(t => !/rotate\\((?!0[,)])/.test(t.getAttribute("transform") || ""))
    .map(t => t.getBoundingClientRect()).map(b => [b.left, b.right]).sort((a, b) => a[0] - b[0]))"""
# What a legend has in common with the axis titles of its picture, in pixels of height.
LEGENDS = """() => [...document.querySelectorAll(".drawing")].map(plot => {
  const legend = plot.querySelector("g.legend"), title = plot.querySelector("g.g-xtitle text");
  if (!legend || !title) return 0;
  const a = legend.getBoundingClientRect(), b = title.getBoundingClientRect();
  return Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
})"""


class Seen:
    """A page, and what happened while it was open."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("dialog", lambda dialog: (self.wrong.append("a dialog opened"), dialog.dismiss()))
        page.on("request", lambda asked: None if asked.url.startswith("file:") else self.wrong.append(f"asked for {asked.url[:80]}"))

    def draw_all(self) -> None:
        """Scroll until every picture has been drawn."""
        for place in self.page.query_selector_all(".drawing"):
            place.scroll_into_view_if_needed()
            self.page.wait_for_function("place => place.dataset.drawn", arg=place)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # the extra "browser"

    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("FASTTUNE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail("no Chromium was found on PATH; FASTTUNE_CHROMIUM says where one is")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory, asha: ExperimentData, population: ExperimentData, hostile: Path
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, what in (("asha", asha), ("population", population), ("hostile", hostile)):
        metrics = {"loss": "min", "seconds": "min"} if name == "asha" else None
        plot.report(what, folder / f"{name}.html", metrics=metrics)
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Seen]]:
    contexts = []

    def open_page(name: str, size: tuple[int, int] = WIDE, scheme: str = "light") -> Seen:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
        contexts.append(context)
        seen = Seen(context.new_page())
        seen.page.goto(pages[name].as_uri())
        return seen

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", ["asha", "population", "hostile"])
def test_everything_is_drawn_and_nothing_is_fetched(opened: Callable[..., Seen], name: str, size: tuple[int, int]) -> None:
    seen = opened(name, size, "dark" if size == NARROW else "light")
    seen.draw_all()
    empty = "() => [...document.querySelectorAll('.drawing')].filter(p => !p.querySelector('svg .trace, svg .hm, svg .points')).length"
    assert seen.page.evaluate(empty) == 0
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= size[0]  # nothing is wider than the window
    assert seen.page.evaluate("window.injected") is None
    assert seen.wrong == []


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_labels_do_not_cover_each_other(opened: Callable[..., Seen], size: tuple[int, int]) -> None:
    seen = opened("asha", size)
    seen.draw_all()
    axes = seen.page.evaluate(TICKS)
    assert sum(map(len, axes)) > 20
    for boxes in axes:
        assert all(left[1] <= right[0] + 1 for left, right in pairwise(boxes)), boxes
    assert max(seen.page.evaluate(LEGENDS)) <= 2


def test_colours_follow_the_scheme_while_the_page_is_open(opened: Callable[..., Seen]) -> None:
    seen = opened("asha", scheme="light")
    seen.draw_all()
    shades = """() => {
      const sum = text => (text.match(/\\d+/g) || []).slice(0, 3).reduce((a, b) => a + Number(b), 0);
      const ground = sum(getComputedStyle(document.body).backgroundColor);
      const label = sum(getComputedStyle(document.querySelector(".drawing .xtick text")).fill);
      return [ground, label];
    }"""
    ground, label = seen.page.evaluate(shades)
    assert ground - label > 450  # dark on light
    seen.page.emulate_media(color_scheme="dark")
    seen.page.wait_for_function(f"() => {{ const [ground, label] = ({shades})(); return label - ground > 450; }}")


def test_hover_texts_show_markup_as_text(opened: Callable[..., Seen]) -> None:
    seen = opened("hostile")
    seen.draw_all()
    point = seen.page.query_selector("#picture-history .drawing .point")
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen.page.wait_for_selector("#picture-history .hoverlayer .hovertext")
    shown = seen.page.text_content("#picture-history .hoverlayer")
    assert "<img src=x" in shown
    assert seen.page.query_selector("#picture-history .hoverlayer img") is None
    assert seen.page.evaluate("window.injected") is None
    assert seen.wrong == []


def test_a_script_that_is_not_the_pages_does_not_run(opened: Callable[..., Seen], pages: dict[str, Path]) -> None:
    whole = pages["hostile"].read_text(encoding="utf-8")
    pages["tampered"] = pages["hostile"].with_name("tampered.html")
    more = '<script>window.injected = 1</script><img src="data:," onerror="window.injected = 2">'
    pages["tampered"].write_text(whole.replace("</main>", f"{more}</main>"), encoding="utf-8")
    seen = opened("tampered")
    seen.draw_all()
    assert seen.page.evaluate("window.injected") is None
    assert len([said for said in seen.wrong if "Content Security Policy" in said]) == 2


def test_a_failure_opens_to_its_traceback(opened: Callable[..., Seen]) -> None:
    seen = opened("hostile", NARROW)
    kind = seen.page.query_selector("details:has(summary b)")
    assert not kind.query_selector("pre").is_visible()
    kind.query_selector("summary").click()
    kind.query_selector("pre").wait_for_element_state("visible")
    assert "Traceback" in kind.query_selector("pre").inner_text()
