"""The report page: whole, harmless, and true."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from searched import HOSTILE, SPACE, curve

import fasttune as tune
import forks
from fasttune import plot
from fasttune.cli import main
from fasttune.plot.data import ExperimentData
from fasttune.plot.page import TITLES, figure_json

PACKAGE = str(Path(tune.__file__).resolve().parent.parent)
FETCHING = {"src", "href", "action", "data", "poster", "srcset", "background", "formaction", "xlink:href"}


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its text, its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []  # attributes and text
        self._inside: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside == ["style"]:
            return
        if self._inside:
            attrs, text = self.scripts[-1]
            self.scripts[-1] = attrs, text + data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def figures(self) -> list[dict[str, Any]]:
        return [json.loads(text) for attrs, text in self.scripts if attrs.get("type") == "application/json"]


def written(what: Any, tmp_path: Path, **asked: Any) -> Page:
    path = tmp_path / "report.html"
    assert plot.report(what, path, **asked) == str(path)
    return Page(path)


def check_alone(page: Page) -> None:
    """Nothing in it is fetched from anywhere."""
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "form"), tag
        for name in FETCHING & attrs.keys():
            assert str(attrs[name]).startswith("#"), (tag, attrs)
        assert not any(name.startswith("on") for name in attrs), (tag, attrs)
    (policy,) = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'")
    assert "http" not in str(policy)
    told = [text for attrs, text in page.scripts if not attrs]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in told]
    assert re.findall(r"'sha256-([^']+)'", str(policy)) == hashes  # these two run, and no other script would
    assert "unsafe" not in str(policy).split("script-src")[1].split(";")[0]


def test_the_page_tells_what_was_searched_found_and_saved(asha: ExperimentData, tmp_path: Path) -> None:
    page = written(asha, tmp_path, metrics={"loss": "min", "seconds": "min"})
    check_alone(page)
    best = asha.analysis.best_trial
    steps = sum(len(frame) for frame in asha.analysis.trial_dataframes.values())
    for words in (
        f"{best.last_result['loss']:.6g} last loss (min) by trial {best.trial_id}",
        f"lr {best.config['lr']:.6g}",
        "lr a number from 0.0001 to 1, on a logarithmic scale",
        "opt/momentum a number from 0.5 to 0.99 if name=sgd",
        f"{steps:,} steps were run. All trials to their end, 27 steps each (as the run was asked), would take {120 * 27:,}.",
        f"{1 - steps / (120 * 27):.0%} of the steps",
        "decides who is stopped AsyncHyperBandScheduler",
        "trials 120",
        "Trade-offs",
        "Pictures that are not here, and why",
    ):
        assert words in page.text, words
    places = [attrs["data-figure"] for tag, attrs in page.tags if attrs.get("class") == "drawing"]
    assert places == [attrs["id"] for attrs, _ in page.scripts if attrs.get("type") == "application/json"]
    assert all(figure["data"] for figure in page.figures())
    assert len([text for _, text in page.scripts if len(text) > 1_000_000]) == 1  # plotly.js, once


def test_nothing_of_an_experiment_becomes_markup(hostile: Path, tmp_path: Path) -> None:
    page = written(hostile, tmp_path)
    check_alone(page)
    kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert kinds.count(None) == 2  # plotly.js and ours; one more would be the experiment's
    assert " ".join(HOSTILE.split()) in page.text
    assert f"RuntimeError: {HOSTILE}" in page.text  # the kind of failure, folded, with its traceback
    assert "ValueError: x is too large" in page.text
    assert "in hostile_trainable" in page.text
    assert page.figures()
    assert "injected" not in "".join(text for attrs, text in page.scripts if not attrs)


def test_a_figure_in_a_page_ends_no_script() -> None:
    import plotly.graph_objects as go

    made = go.Figure(layout={"title": {"text": "</script><!-- & "}})
    assert not set("<>&") & set(figure_json(made))
    assert json.loads(figure_json(made))["layout"]["title"]["text"] == "</script><!-- & "


def test_a_page_without_a_metric_shows_what_can_be_shown(tmp_path: Path) -> None:
    analysis = tune.run(
        lambda config: {"loss": config["x"]}, config={"x": tune.uniform(0, 1)}, num_samples=3, executor="inline", verbose=0, name="m"
    )
    page = written(analysis, tmp_path)
    assert "No trial can be called the best: no metric was given" in page.text
    assert len(page.figures()) == 1  # the timeline
    assert "loss (min)" in written(analysis, tmp_path, metric="loss", mode="min").text
    with pytest.raises(ValueError, match="metric 'los' was never reported"):
        plot.report(analysis, tmp_path / "other.html", metric="los", mode="min")
    assert not list(tmp_path.glob("other*"))


def test_a_page_of_a_run_in_which_everything_failed(tmp_path: Path) -> None:
    def fails(config: dict[str, Any]) -> None:
        raise RuntimeError("at once")

    given: dict[str, Any] = {"executor": "inline", "verbose": 0, "raise_on_failed_trial": False, "num_samples": 5}
    page = written(tune.run(fails, metric="loss", mode="min", **given), tmp_path)
    assert "has reported" in page.text
    assert "RuntimeError: at once 5 times" in page.text


def test_a_page_marks_a_best_trial_that_failed_and_tells_what_was_attached(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.set_user_attr("<i>", {"version": 3})
        tune.report(loss=config["x"])
        if config["x"] == 0:
            raise RuntimeError("behind <it>")

    given: dict[str, Any] = {"executor": "inline", "verbose": 0, "raise_on_failed_trial": False, "user_attrs": {"why": "<b>"}}
    analysis = tune.run(train, config={"x": tune.grid_search([1, 0])}, metric="loss", mode="min", **given)
    page = written(analysis, tmp_path)
    assert "This trial failed behind its last report: RuntimeError: behind <it>" in page.text
    assert f"{analysis.trials[0].trial_id} (failed)" not in page.text
    assert page.text.count(f"{analysis.trials[1].trial_id} (failed)") == 1  # in the table of the best
    assert "Attached to it: <i>/version 3" in page.text
    assert "Attached to the run: why <b>" in page.text


def test_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    code = f"""
import os
import fasttune as tune

def train(config):
    tune.report(loss=config["x"])
    if config["x"] == 2:
        os._exit(9)

space = {{"x": tune.grid_search([1, 2, 3])}}
tune.run(train, config=space, metric="loss", mode="min", executor="inline", verbose=0, name="killed", storage_path={str(tmp_path)!r})
"""
    done = forks.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": PACKAGE}, capture_output=True, check=False)
    assert done.returncode == 9
    page = written(str(tmp_path / "killed"), tmp_path)
    assert "resume='AUTO'" in page.text
    assert ("span", {"class": "state unfinished"}) in page.tags
    assert "reports 2" in page.text


def test_every_picture_has_words_and_a_page_keeps_its_size(wide: ExperimentData, tmp_path: Path) -> None:
    assert set(TITLES) == set(plot.PICTURES)
    path = plot.report(wide, tmp_path / "wide.html")
    plotly = max(len(text) for _, text in Page(Path(path)).scripts)
    assert os.path.getsize(path) - plotly < 4_000_000


@pytest.mark.slow
def test_a_page_of_a_hundred_thousand_trials_is_a_few_megabytes(tmp_path: Path) -> None:
    given: dict[str, Any] = {"num_samples": 100_000, "metric": "loss", "mode": "min", "executor": "inline", "verbose": 0}

    def train(config: dict[str, Any]) -> None:
        for step in range(1, 6):
            tune.report(curve(config, step))

    analysis = tune.run(train, config=SPACE, **given)
    page = Page(Path(analysis.report(tmp_path / "large.html")))
    plotly = max(len(text) for _, text in page.scripts)
    assert os.path.getsize(tmp_path / "large.html") - plotly < 5_000_000
    assert "100,000" in page.text


def test_the_file_is_replaced_in_one_go_and_never_through_a_link(asha: ExperimentData, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("kept")
    link = tmp_path / "page.html"
    link.symlink_to(precious)
    plot.report(asha, link)
    assert precious.read_text() == "kept"
    assert not link.is_symlink()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        plot.report(asha, tmp_path / "missing" / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "precious.txt"]
    with pytest.raises(ValueError, match="a simulation has no folder"):
        plot.report(asha)


# ---- the command line


def test_the_commands_report_and_plot(hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(hostile)]) == 0
    assert capsys.readouterr().out.strip() == str(hostile / "report.html")
    check_alone(Page(hostile / "report.html"))
    page = tmp_path / "of.html"
    assert main(["report", str(hostile), "-o", str(page), "--metric", "plain", "--mode", "max"]) == 0
    assert "last plain (max)" in Page(page).text
    for name, begin in (("history.svg", b"<?xml"), ("curves.png", b"\x89PNG"), ("slices.html", b"<html>")):
        path = tmp_path / name
        assert main(["plot", str(hostile), path.stem, "-o", str(path)]) == 0
        assert begin in path.read_bytes()[:60]
    assert main(["plot", str(hostile), "slices", "-o", str(tmp_path / "x.png"), "--params", "x"]) == 0
    capsys.readouterr()
    assert main(["plot", "anywhere", "?"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(plot.PICTURES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plot", "EXP", "histogram"], "there is no picture 'histogram'; there are history, curves"),
        (["plot", "EXP", "history", "-o", "a.gif"], "-o names a file that ends in .html, .png, .svg, .pdf, got 'a.gif'"),
        (["plot", "EXP", "history", "--params", "x"], "the picture history takes no --params"),
        (["plot", "EXP", "timeline", "--metric", "plain"], "the picture timeline takes no --metric"),
        (["plot", "EXP", "pareto"], "pareto needs --metrics"),
        (["plot", "EXP", "slices", "--params", "y"], "no parameter 'y' differs between trials"),
        (["plot", "EXP", "rungs"], "there are no rungs to draw"),
        (["report", "EXP", "--metric", "plane", "--mode", "max"], "metric 'plane' was never reported"),
        (["report", "nowhere"], "there is no experiment"),
    ],
    ids=lambda value: "-".join(value[:1] + value[2:]) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], said: str, hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(hostile) if word == "EXP" else word for word in words]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert said in error
    assert not list(tmp_path.iterdir())


def test_pictures_cost_nothing_until_they_are_asked_for() -> None:
    code = "import sys, fasttune as tune; tune.ExperimentAnalysis; print({'fasttune.plot', 'plotly'} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": PACKAGE}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "set()"
