"""The web application: addresses, and what comes back. Everything but the page and its scripts is JSON.

What belongs to one experiment has its version as ETag: who asks again for what has not changed gets 304, and the experiment is
not opened for that.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import blake2b
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fasttune.dashboard import figures
from fasttune.dashboard.answers import Answers
from fasttune.dashboard.figures import Figure
from fasttune.dashboard.guard import App, Guard
from fasttune.dashboard.lanes import Lane
from fasttune.dashboard.question import NotAnswered, Question, plain
from fasttune.dashboard.trial_sheet import MOST_ROWS, Asked
from fasttune.extras import optional

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_T = TypeVar("_T")

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
STYLES, PLOTLY = "report.css", "plotly.js"  # the report page's styles, and the library that draws
LARGEST_BODY = 1 << 14  # bytes of what may be posted
MODES = ("", "min", "max")
EXPERIMENT = "experiment"


class Static(NamedTuple):
    """One file of the page."""

    data: bytes
    type: str
    tag: str


def application(folder: str, token: str, *, control: bool = False) -> App:
    """The dashboard of a folder of experiments, for those who know the token.

    Args:
        folder: one with experiments in it, or an experiment's own.
        control: runs may be asked to stop.

    Raises:
        ImportError: starlette or plotly is not installed; it says what to install.
    """
    optional("starlette", "dashboard", "the dashboard")
    optional("plotly", "dashboard", "the dashboard")
    from starlette.applications import Starlette
    from starlette.routing import Route

    site = Site(Answers(folder, control))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        site.open()
        yield
        site.close()

    routes = [
        Route("/", site.page),
        Route("/static/{name}", site.static),
        Route("/api/experiments", site.experiments),
        Route("/api/experiment", site.experiment),
        Route("/api/facts", site.facts),
        Route("/api/trials", site.trials),
        Route("/api/trial", site.trial),
        Route("/api/trial_figures", site.trial_figures),
        Route("/api/picture", site.picture),
        Route("/api/comparison", site.comparison),
        Route("/api/stop", site.stop, methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes, lifespan=lifespan), token)


class Site:
    """The routes. ``words`` is the thread that answers at once, ``drawing`` the one that may take its time."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._static = _static_files()
        self._words: Lane
        self._drawing: Lane

    def open(self) -> None:
        self._words, self._drawing = Lane("words"), Lane("pictures")

    def close(self) -> None:
        self._words.close()
        self._drawing.close()

    # ---- the page

    async def page(self, request: Request) -> Response:
        return self._file(request, "index.html", "no-store")

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name == PLOTLY and name not in self._static:
            self._static[name] = await self._drawing.do(_plotly)
        if name not in self._static:
            return _told(404, {"error": "there is no such file"})
        return self._file(request, name, "private, no-cache")

    def _file(self, request: Request, name: str, caching: str) -> Response:
        from starlette.responses import Response

        found = self._static[name]
        headers = {"etag": found.tag, "cache-control": caching}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.data, media_type=found.type, headers=headers)

    # ---- answers

    async def experiments(self, request: Request) -> Response:
        async def answer(question: Question) -> Response:
            question.check_all_known()
            told = await self._words.do(self._answers.experiments)
            body = _json(told)
            return _tagged(request, f'"{blake2b(body, digest_size=12).hexdigest()}"', body)

        return await _answered(request, answer)

    async def experiment(self, request: Request) -> Response:
        async def answer(question: Question) -> Response:
            name = question.needed(EXPERIMENT)
            question.check_all_known()
            return await self._of(request, name, partial(self._answers.experiment, name))

        return await _answered(request, answer)

    async def trials(self, request: Request) -> Response:
        async def answer(question: Question) -> Response:
            name = question.needed(EXPERIMENT)
            asked = Asked(
                question.text("sort"),
                question.truth("desc"),
                question.text("filter"),
                question.text("status"),
                question.number("offset", 0, 0, 10**9),
                question.number("limit", 50, 1, MOST_ROWS),
            )
            question.check_all_known()
            return await self._of(request, name, partial(self._answers.trials, name, asked))

        return await _answered(request, answer)

    async def trial(self, request: Request) -> Response:
        async def answer(question: Question) -> Response:
            name, number = question.needed(EXPERIMENT), question.number("trial", -1, 0, 10**9)
            question.check_all_known()
            return await self._of(request, name, partial(self._answers.trial, name, _there(number)))

        return await _answered(request, answer)

    async def facts(self, request: Request) -> Response:
        async def answer(question: Question) -> Response:
            name = question.needed(EXPERIMENT)
            question.check_all_known()
            return await self._drawn(request, name, lambda opened: _json(self._answers.facts(opened)))

        return await _answered(request, answer)

    async def trial_figures(self, request: Request) -> Response:
        async def answer(question: Question) -> Response:
            name, number = question.needed(EXPERIMENT), _there(question.number("trial", -1, 0, 10**9))
            question.check_all_known()
            return await self._drawn(request, name, lambda opened: _figures(figures.trial_curves(opened, number)))

        return await _answered(request, answer)

    async def picture(self, request: Request) -> Response:
        async def answer(question: Question) -> Response:
            name, which = question.needed(EXPERIMENT), question.needed("name")
            metric, mode = question.text("metric"), question.one_of("mode", MODES, "")
            question.check_all_known()
            return await self._drawn(
                request, name, lambda opened: _drawn_or_why(partial(figures.picture, opened, which, metric, mode))
            )

        return await _answered(request, answer)

    async def comparison(self, request: Request) -> Response:
        async def answer(question: Question) -> Response:
            names, over = question.texts(EXPERIMENT), question.one_of("over", ("time", "trials"), "time")
            question.check_all_known()
            tag = await self._words.do(lambda: _tag(request, *map(self._answers.version, names)))
            if request.headers.get("if-none-match") == tag:
                return _tagged(request, tag, b"")
            several = await self._words.do(lambda: self._answers.chosen(names))
            rows = await self._words.do(lambda: self._answers.compared(several))
            draw = partial(_drawn_or_why, partial(figures.comparison, several, over), {"experiments": rows})
            return _tagged(request, tag, await self._drawing.do(draw))

        return await _answered(request, answer)

    async def stop(self, request: Request) -> Response:
        async def answer(question: Question) -> Response:
            question.check_all_known()
            told = await _posted(request)
            unknown = sorted(set(told) - {EXPERIMENT, "trial", "at_once"})
            name, trial, at_once = told.get(EXPERIMENT), told.get("trial"), told.get("at_once", False)
            whole = trial is None or (type(trial) is int and trial >= 0)
            if unknown or not isinstance(name, str) or not whole or not isinstance(at_once, bool):
                raise NotAnswered(
                    400,
                    f"a request to stop has an {EXPERIMENT} (text), and may have a trial (its number) and at_once (true or "
                    f"false); got {json.dumps(told)[:200]}",
                )
            return _told(200, await self._words.do(lambda: self._answers.stop(name, trial, at_once)))

        return await _answered(request, answer)

    # ---- how answers are given

    async def _of(self, request: Request, name: str, answer: Callable[[], dict[str, Any]]) -> Response:
        """An answer about one experiment, which is not made again for who has it."""
        tag = await self._words.do(lambda: _tag(request, self._answers.version(name)))
        if request.headers.get("if-none-match") == tag:
            return _tagged(request, tag, b"")
        told = await self._words.do(answer)
        # what was opened may be of a later version than what was looked at
        return _tagged(request, _tag(request, told["version"]), _json(told))

    async def _drawn(self, request: Request, name: str, draw: Callable[[Any], bytes]) -> Response:
        """The same of one that may take long to make."""
        tag = await self._words.do(lambda: _tag(request, self._answers.version(name)))
        if request.headers.get("if-none-match") == tag:
            return _tagged(request, tag, b"")
        opened = await self._words.do(lambda: self._answers.opened(name))
        return _tagged(request, _tag(request, opened.version), await self._drawing.do(lambda: draw(opened)))


async def _answered(request: Request, answer: Callable[[Question], Awaitable[Response]]) -> Response:
    """The answer, or why there is none."""
    try:
        return await answer(Question(request.query_params.multi_items()))
    except NotAnswered as error:
        return _told(error.status, {"error": str(error)})
    except Exception as error:  # of ours, or something in a stranger's folder that nobody has thought of: the page goes on
        logging.getLogger(__name__).exception("no answer to %s", request.url.path)
        why = " ".join(str(error).split())[:300]
        return _told(500, {"error": f"this cannot be answered: {type(error).__name__}: {why}"})


async def _posted(request: Request) -> dict[str, Any]:
    """The JSON object in the body of a request. NotAnswered."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise NotAnswered(415, "what is posted has to be application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise NotAnswered(413, f"what is posted may have {LARGEST_BODY:,} bytes")
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAnswered(400, "what is posted is no JSON") from error
    if not isinstance(told, dict):
        raise NotAnswered(400, "what is posted has to be a JSON object")
    return told


def _there(number: int) -> int:
    if number < 0:
        raise NotAnswered(400, "the parameter 'trial' is missing")
    return number


def _tag(request: Request, *versions: str) -> str:
    """The ETag of an answer to this question about experiments of these versions."""
    told = "\n".join([*versions, request.url.path, request.url.query])
    return f'"{blake2b(told.encode(), digest_size=12).hexdigest()}"'


def _tagged(request: Request, tag: str, body: bytes) -> Response:
    from starlette.responses import Response

    headers = {"etag": tag, "cache-control": "no-store"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _told(status: int, answer: dict[str, Any]) -> Response:
    from starlette.responses import Response

    return Response(_json(answer), status, media_type="application/json", headers={"cache-control": "no-store"})


def _json(answer: Any) -> bytes:
    return json.dumps(plain(answer), allow_nan=False, separators=(",", ":")).encode()


def _drawn_or_why(draw: Callable[[], Sequence[Figure]], more: dict[str, Any] | None = None) -> bytes:
    """What was drawn, or why there is nothing to see: that is an answer, too."""
    try:
        return _figures(draw(), more)
    except figures.NothingToDraw as error:
        return _figures([], {**(more or {}), "missing": str(error)})


def _figures(drawn: Sequence[Figure], more: dict[str, Any] | None = None) -> bytes:
    """Figures as JSON; what plotly has written is put in as it is."""
    parts = [
        _json({"title": one.title, "note": one.note, "height": one.height})[:-1] + b',"figure":' + one.json.encode() + b"}"
        for one in drawn
    ]
    return _json(more or {})[:-1] + (b"," if more else b"") + b'"figures":[' + b",".join(parts) + b"]}"


# ---- files


def _static_files() -> dict[str, Static]:
    from fasttune.plot.page_parts import STYLES as styles

    found = {STYLES: _static(styles.encode(), ".css")}
    for file in files("fasttune.dashboard").joinpath("static").iterdir():
        ending = file.name[file.name.rfind(".") :]
        if ending in TYPES:
            found[file.name] = _static(file.read_bytes(), ending)
    return found


def _plotly() -> Static:
    from plotly.offline import get_plotlyjs

    return _static(get_plotlyjs().encode(), ".js")


def _static(data: bytes, ending: str) -> Static:
    return Static(data, TYPES[ending], f'"{blake2b(data, digest_size=12).hexdigest()}"')
