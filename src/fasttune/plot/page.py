"""The report page: one HTML file that opens without a network and tells somebody who never saw the tool what was found.

Everything that comes from the experiment is escaped where it is put into the page: ``text`` for HTML, ``figure_json`` for
what is inside a script, and the drawer for what plotly reads as markup.
"""

from __future__ import annotations

import html
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from fasttune.extras import optional
from fasttune.plot.chart import Chart
from fasttune.plot.curves import curves_chart, curves_data
from fasttune.plot.data import ExperimentData, Goal, experiment_of
from fasttune.plot.facts import Facts, facts_of
from fasttune.plot.front import front_chart, front_data, hypervolume_chart, hypervolume_data
from fasttune.plot.history import edf_chart, edf_data, history_chart, history_data
from fasttune.plot.importances import importances_chart, importances_data
from fasttune.plot.lineage import lineage_chart, lineage_data
from fasttune.plot.page_parts import SCRIPT, STYLES, policy
from fasttune.plot.parallel import parallel_chart, parallel_data
from fasttune.plot.rungs import rungs_chart, rungs_data
from fasttune.plot.slices import contour_chart, contour_data, rank_chart, rank_data, slices_chart, slices_data
from fasttune.plot.workers import timeline_chart, timeline_data

REPORT = "report.html"
WITHOUT_GOAL = ("rungs", "timeline", "pareto", "hypervolume")  # what can be drawn where nobody knows which one trial is best
FOLDED = 25  # parameters, above which their table is folded


class Entry(NamedTuple):
    """A picture of the page."""

    name: str
    words: str  # what one sees in it
    chart: Callable[[ExperimentData, Goal], Chart]
    apart: bool = False  # each panel is a figure of its own, so that narrow windows put them below each other


PAGE: tuple[Entry, ...] = (
    Entry(
        "history",
        "Each point is a trial: one configuration that was tried. The line is the best value so far; where it is flat, "
        "further trials have found nothing better.",
        lambda e, goal: history_chart(e, goal, history_data(e, goal)),
    ),
    Entry(
        "curves",
        "How trials got on, step by step. Stopped ones were given up by the scheduler, because others did better.",
        lambda e, goal: curves_chart(e, goal, curves_data(e, goal)),
    ),
    Entry(
        "importances",
        "Long bars are parameters to choose with care. One below its mark for chance may as well have no effect.",
        lambda e, goal: importances_chart(goal, importances_data(e, goal), "ped-anova", 0.1),
    ),
    Entry(
        "parallel",
        "Each line is a trial and passes each axis at its value; where the lines of good trials come together, the value matters.",
        lambda e, goal: parallel_chart(e, goal, parallel_data(e, goal)),
    ),
    Entry(
        "slices",
        "The same trials over one parameter at a time. A cloud that rises at an end of its axis asks for a wider range.",
        lambda e, goal: slices_chart(e, goal, slices_data(e, goal)),
        apart=True,
    ),
    Entry(
        "contour",
        "Two parameters at a time: where good values lie, and where nobody has looked.",
        lambda e, goal: contour_chart(e, goal, contour_data(e, goal)),
        apart=True,
    ),
    Entry(
        "rank",
        "Two parameters at a time, each trial by its rank.",
        lambda e, goal: rank_chart(e, goal, rank_data(e, goal)),
        apart=True,
    ),
    Entry(
        "rungs",
        "At each of these steps the scheduler compares trials. Those that it stops cost nothing any more.",
        lambda e, goal: rungs_chart(e, rungs_data(e)),
        apart=True,
    ),
    Entry(
        "lineage",
        "Trials that did badly went on from the checkpoint of a better one, with a changed configuration.",
        lambda e, goal: lineage_chart(e, goal, lineage_data(e, goal)),
        apart=True,
    ),
    Entry(
        "timeline",
        "Which worker process ran which trial. Gaps are time in which a worker had nothing to do.",
        lambda e, goal: timeline_chart(e, timeline_data(e)),
        apart=True,
    ),
    Entry(
        "edf",
        "How common good values are: a steep rise at the good end says that many trials are about as good as the best.",
        lambda e, goal: edf_chart(goal, [edf_data(e, goal)]),
    ),
)


def front_entries(goals: list[Goal]) -> list[Entry]:
    """The pictures of several metrics; [] without."""
    if not goals:
        return []
    return [
        Entry(
            "pareto",
            "Trials on the front are the choices: to be better in one metric one has to give up some of another.",
            lambda e, _: front_chart(e, goals, front_data(e, goals)),
            apart=True,
        ),
        Entry(
            "hypervolume",
            "A curve that has become flat says that more trials would hardly find more of the front.",
            lambda e, _: hypervolume_chart(e, goals, hypervolume_data(e, goals)),
        ),
    ]


class PageFigure(NamedTuple):
    """A picture as the page holds it."""

    title: str
    note: str
    json: str
    height: float  # pixels


def report(
    analysis: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    metric: str | None = None,
    mode: str | None = None,
    scope: str | None = None,
    metrics: Mapping[str, str] | None = None,
) -> str:
    """Writes the report page of an experiment and returns its path. It needs no network, now or when it is opened.

    Args:
        analysis: an ExperimentAnalysis, a ResultGrid or an experiment's folder.
        path: the HTML file; by default ``report.html`` in the experiment's folder. A file that is there is replaced.
        metric, mode, scope: as for ``ExperimentAnalysis.get_best_trial``; the run's own by default. Without a metric the page
            says so and shows what can be shown.
        metrics: "min" or "max" for two metrics or more: adds their Pareto front. None: those of a run with several.

    Raises:
        ValueError: a metric that was asked for was never reported, or is asked for without a mode.
        ImportError: plotly is not installed; it says what to install.
        OSError: the file cannot be written.
    """
    optional("plotly", "plots", "a report")
    experiment = experiment_of(analysis)
    if path is None and not experiment.path:
        raise ValueError("a simulation has no folder for its report: report(path) needs the name of a file")
    target = os.path.abspath(os.path.join(experiment.path, REPORT) if path is None else os.path.expanduser(os.fspath(path)))
    if not os.path.isdir(os.path.dirname(target)):
        raise FileNotFoundError(f"there is no folder {os.path.dirname(target)!r} for the report; make it first")
    goal, why = _goal(experiment, metric, mode, scope)
    goals = [experiment.goal(name, way, scope) for name, way in (metrics or experiment.analysis.objectives).items()]
    _write(target, page(experiment, goal, why, goals))
    return target


def _goal(experiment: ExperimentData, metric: str | None, mode: str | None, scope: str | None) -> tuple[Goal | None, str]:
    """The goal, or why there is none: an experiment without a metric or reports has a page all the same."""
    try:
        goal = experiment.goal(metric, mode, scope)
        experiment.score(goal)
    except ValueError as error:
        if metric is not None and len(experiment) and experiment.metrics:
            raise
        return None, str(error)
    return goal, ""


def page(experiment: ExperimentData, goal: Goal | None, no_goal: str, goals: list[Goal]) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    facts = facts_of(experiment, goal, no_goal)
    sections: list[tuple[str, str, list[PageFigure], bool]] = []
    missing: list[tuple[str, str]] = []
    for entry in (*PAGE, *front_entries(goals)):
        try:
            found = _figures(entry, experiment, goal)
        except ValueError as error:  # e.g. no trial was stopped: there are no rungs
            missing.append((entry.name, str(error)))
            continue
        sections.append((entry.name, entry.words, found, entry.apart and len(found) > 1))
    library = get_plotlyjs().replace("\r\n", "\n")  # as a browser reads it, whose hash is compared
    parts = [*_head(facts, policy([library, SCRIPT])), *_summary(facts), *_pictures(sections, missing)]
    parts += [*_failed(facts), *_again(facts)]
    parts.append(f"<p class=soft>Written by fasttune on {text(facts.made)}.</p>")
    scripts = f"<script>{library}</script>\n<script>{SCRIPT}</script>"
    return "\n".join([*parts, "</main>", scripts, "</body></html>", ""])


def _figures(entry: Entry, experiment: ExperimentData, goal: Goal | None) -> list[PageFigure]:
    from fasttune.plot.draw_plotly import figure, single

    if goal is None and entry.name not in WITHOUT_GOAL:
        raise ValueError("it needs a metric and a mode")
    chart = entry.chart(experiment, goal)  # type: ignore[arg-type]  # those that need no goal do not look at it
    apart = [single(chart, panel) for panel in chart.panels] if entry.apart else [chart]
    found = []
    for one in apart:
        made = figure(one, bare=True)
        found.append(PageFigure(one.title, one.note, figure_json(made), float(made.layout.height)))
    return found


def figure_json(figure: Any) -> str:
    """A figure as JSON that can stand in a script element: nothing in it can end that."""
    return str(figure.to_json()).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def text(value: object) -> str:
    """Any value as the text of an element or an attribute."""
    return html.escape(str(value), quote=True)


# ---- the parts of the page


def _head(facts: Facts, allowed: str) -> Iterator[str]:
    yield f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(facts.name)} - report</title>
<style>{STYLES}</style></head><body><main>
<h1>{text(facts.name)}</h1>
<div class="path">{text(facts.path or "a simulation, in memory")}</div>
<p><span class="state {facts.state}">{facts.state}</span>
<span class="soft">A search for good settings: each trial is a run of the same program with other parameters.</span></p>"""
    links = [("pictures", "Pictures"), ("best", "Best trials"), ("searched", "What was searched")]
    links += [("failures", "Failures")] if facts.failures else []
    links += [("again", "Going on")] if facts.path else []
    yield "<nav>" + "".join(f'<a href="#{at}">{name}</a>' for at, name in links) + "</nav>"


def _summary(facts: Facts) -> Iterator[str]:
    yield '<div class="cards">'
    yield f'<section class="card"><h2>What was found</h2>{"".join(_found(facts))}</section>'
    outcomes = [(f"trials {name}", f"{n:,}") for name, n in facts.outcomes]
    yield f'<section class="card"><h2>What it cost</h2>{_list([*facts.cost, *outcomes])}</section>'
    yield f'<section class="card"><h2>What stopping early saved</h2>{"".join(_saved(facts))}</section>'
    yield "</div>"
    yield '<h2 id="searched">What was searched</h2>'
    if facts.searched:
        rows = "".join(
            f'<tr><td>{text(name)}</td><td class="words">{text(words)}</td><td>{text(condition)}</td></tr>'
            for name, words, condition in facts.searched
        )
        table = f'<div class="wide"><table><tr><th>parameter</th><th>values</th><th></th></tr>{rows}</table></div>'
        n = len(facts.searched)
        yield table if n <= FOLDED else f"<details><summary>{n:,} parameters</summary>{table}</details>"
    else:
        yield '<p class="soft">The journal does not say what was searched.</p>'
    yield _list(facts.asked)
    if facts.attached:
        yield f'<p class="soft">Attached to the run:</p>{_list(facts.attached)}'
    if facts.top:
        head = "".join(f"<th>{text(name)}</th>" for name in facts.top_names)
        body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in facts.top)
        yield f'<h2 id="best">Best trials</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _found(facts: Facts) -> Iterator[str]:
    best, goal = facts.best, facts.goal
    if best is None or goal is None:
        yield f'<p class="soft">No trial can be called the best: {text(facts.no_goal)}.</p>'
        return
    yield f'<div class="big">{text(best.value)}</div><div class="soft">{text(goal.words())}</div>'
    yield f"<p>by trial {text(best.trial_id)}, {text(best.when)}. {text(best.better_than_first)}</p>"
    if best.failed:
        yield f'<p class="failed">This trial failed behind its last report: {text(best.failed)}</p>'
    yield _list(best.config, "config")
    if best.attached:
        yield f'<p class="soft">Attached to it:</p>{_list(best.attached, "config")}'


def _saved(facts: Facts) -> Iterator[str]:
    saved = facts.saved
    if saved is None:
        yield '<p class="soft">Nothing: no trial was stopped early.</p>'
        return
    share = 1 - saved.run / saved.all_to_the_end if saved.all_to_the_end else 0.0
    yield f'<div class="big">{share:.0%}</div><div class="soft">of the steps that all trials to their end would take</div>'
    yield (
        f"<p>{saved.run:,} steps were run. All trials to their end, {saved.longest:,} steps each ({text(saved.said_by)}), "
        f"would take {saved.all_to_the_end:,}.</p>"
    )


def _list(rows: list[tuple[str, str]], kind: str = "") -> str:
    return f'<dl class="{kind}">' + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows) + "</dl>"


def _pictures(sections: list[tuple[str, str, list[PageFigure], bool]], missing: list[tuple[str, str]]) -> Iterator[str]:
    yield '<h2 id="pictures">Pictures</h2>'
    yield '<noscript><p>The pictures need JavaScript; everything else is on this page without it.</p></noscript>'
    number = 0
    for name, words, figures, apart in sections:
        yield f'<section id="picture-{name}"><h3>{text(TITLES[name])}</h3><p class="soft">{text(words)}</p>'
        yield f'<div class="figures{"" if apart and name not in STACKED else " one"}{" broad" if name in BROAD else ""}">'
        for figure in figures:
            number += 1
            title = f"<h4>{text(figure.title)}</h4>" if apart else ""
            yield (
                f'<figure>{title}<div class="drawing" data-figure="figure-{number}" style="min-height:{figure.height:.0f}px"></div>'
                f'<script type="application/json" id="figure-{number}">{figure.json}</script></figure>'
            )
        notes = list(dict.fromkeys(figure.note for figure in figures if figure.note))
        yield f"</div>{''.join(f'<p class=soft>{text(note)}</p>' for note in notes)}</section>"
    if missing:
        rows = "".join(f"<li>{text(TITLES[name])}: {text(why)}</li>" for name, why in missing)
        yield f"<details><summary>Pictures that are not here, and why</summary><ul>{rows}</ul></details>"


TITLES = {
    "history": "How the search went",
    "curves": "Learning curves",
    "importances": "Which parameters matter",
    "parallel": "All parameters at once",
    "slices": "One parameter at a time",
    "contour": "Two parameters at a time",
    "rank": "Ranks over two parameters",
    "rungs": "Who went on",
    "lineage": "Who copied whom",
    "timeline": "Who ran what when",
    "edf": "How common good values are",
    "pareto": "Trade-offs",
    "hypervolume": "What the front covers",
}
STACKED = ("lineage", "timeline")  # their panels share an axis
BROAD = ("parallel",)  # they are scrolled sideways where the window is narrow


def _failed(facts: Facts) -> Iterator[str]:
    if not facts.failures:
        return
    yield '<h2 id="failures">Failures</h2><p class="soft">What ended trials, the most frequent first; open one for its traceback.</p>'
    for kind in facts.failures:
        times = "once" if kind.times == 1 else f"{kind.times:,} times"
        yield (
            f"<details><summary><b>{text(kind.what)}</b> <span class=soft>{times}, first in trial {text(kind.trial_id)}</span>"
            f'</summary><p class="path">{text(kind.where)}</p><pre>{text(kind.text)}</pre></details>'
        )
    if facts.further:
        yield f"<p class=soft>and {facts.further:,} more failures.</p>"


def _again(facts: Facts) -> Iterator[str]:
    if not facts.path:  # a simulation: there is nothing to go on with
        return
    yield '<h2 id="again">Going on</h2>'
    if facts.state == "unfinished":
        yield (
            "<p>Some trials are not over. The same call of <code>tune.run</code> with <code>resume='AUTO'</code>, the same name "
            "and the same storage path goes on where this one was left; a Tuner goes on with <code>Tuner.restore(folder, "
            "trainable).fit()</code>. What was reported is kept.</p>"
        )
    elif facts.state == "running":
        yield "<p>The run was under way when this page was written. Write it again for what has come since.</p>"
    else:
        yield (
            "<p>All trials are over. The same call with <code>resume='AUTO'</code> and a larger <code>num_samples</code> adds "
            "trials to this experiment.</p>"
        )
    if facts.failures:
        yield (
            "<p>Trials that failed are not run again, unless the call has "
            "<code>resume=tune.ResumeConfig(errored='resume')</code>, which goes on from their checkpoints, or "
            "<code>errored='restart'</code>.</p>"
        )
    code = f"import fasttune as tune\n\nanalysis = tune.ExperimentAnalysis({facts.path!r})\n"
    code += 'analysis.dataframe()             # a row for each trial\nanalysis.plot.history()          # each picture of this page\n'
    code += 'analysis.best_config             # to train with\n' if facts.best is not None else ""
    yield f"<p>To look at it from Python:</p><pre>{text(code)}</pre>"


def _write(target: str, content: str) -> None:
    """In one go: a reader of the page sees the old one or the new one, and a link at the place is replaced, not followed."""
    made = f"{target}.{secrets.token_hex(4)}.part"
    try:
        with open(made, "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(content)
        os.replace(made, target)
    except BaseException:
        if os.path.lexists(made):
            os.unlink(made)
        raise
