"""What the site has beside the pages of docs/ (hooks of MkDocs): the reference, the examples, the pages of the root folder.

Links that lead out of docs/ on GitHub lead to a page of the site, if there is one, or become plain text.
"""

from __future__ import annotations

import importlib.util
import posixpath
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FROM_ROOT = {"CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md", "README.md": "index.md"}
PEERS = re.compile(r"<!-- peers: begin -->\n(.*?)<!-- peers: end -->", re.DOTALL)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)((?:#[^)\s]*)?)\)")


def _module(name: str) -> Any:
    """A file beside this one: hooks are no package."""
    spec = importlib.util.spec_from_file_location(f"fasttune_site_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


reference = _module("reference")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Folders in ``nav`` become the pages that are made here."""
    wrong = reference.check()
    if wrong:
        raise PluginError("\n".join(wrong))
    folders = {
        "api/": ["api/index.md", *({page.title: f"api/{page.file}.md"} for page in reference.PAGES)],
        "examples/": ["examples/index.md", *(f"examples/{path.stem}.md" for path in example_files())],
    }
    for entry in config.nav or []:
        for title, where in entry.items():
            if isinstance(where, str) and where in folders:
                entry[title] = folders[where]
    # The plugin `offline` would have each page ask another site for a script. What it does, search_worker.js does: as text of the
    # page, so that it is there before the theme's own script.
    config.extra["polyfills"] = ["data:text/javascript," + quote((HERE / "search_worker.js").read_text(encoding="utf-8"))]
    return config


def example_files() -> list[Path]:
    """The programs of examples/, by name."""
    return sorted((ROOT / "examples").glob("*.py"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are no files of docs/."""
    made = {f"api/{page.file}.md": reference.text_of(page) for page in reference.PAGES}
    made["api/index.md"] = reference.index_text()
    made["examples/index.md"] = examples_text()
    for path in example_files():
        made[f"examples/{path.stem}.md"] = example_text(path)
    made["changes.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    made["contributing.md"] = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    made["beside_other_tuners.md"] = peers_text()
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        files.append(File.generated(config, f"examples/{path.name}", abs_src_path=str(path)))
    return files


def peers_text() -> str:
    """The tables that `make peers` printed into README.md."""
    found = PEERS.search((ROOT / "README.md").read_text(encoding="utf-8"))
    if found is None:
        raise PluginError("README.md has no tables between <!-- peers: begin --> and <!-- peers: end -->")
    return f"# Beside other tuners\n\nEvery contender in turn in the same run, medians.\n\n{found.group(1)}".replace("\n### ", "\n## ")


def first_words(path: Path) -> str:
    """The first sentence of a program's docstring, without the command behind it."""
    text = path.read_text(encoding="utf-8").split('"""')[1].split("\n")[0]
    return re.sub(r":?  python .*", "", text).strip().rstrip(".")


def examples_text() -> str:
    """The list of programs and notebooks."""
    lines = ["# Examples", "Each is one file to be run as it is: `make tune` makes an environment that has what they need.", ""]
    lines += [f"- [`{path.name}`]({path.stem}.md): {first_words(path)}" for path in example_files()]
    lines += [f"- [`{path.name}`]({path.name}): a notebook" for path in sorted((ROOT / "examples").glob("*.ipynb"))]
    return "\n".join([lines[0], "", *lines[1:]]) + "\n"


def example_text(path: Path) -> str:
    """A program as a page."""
    return f"# {path.name}\n\n{first_words(path)}.\n\n```python\n{path.read_text(encoding='utf-8')}```\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mends links: those of pages of the root folder, and those that lead out of docs/."""
    where = page.file.src_uri
    home = ROOT if where in FROM_ROOT.values() and where != "index.md" else (ROOT / "docs" / where).parent

    def mended(link: re.Match[str]) -> str:
        words, target, anchor = link.groups()
        if "://" in target or where.startswith("api/"):
            return link.group(0)
        name = _in_site((home / target).resolve())
        if name is None:
            return words
        return f"[{words}]({posixpath.relpath(name, posixpath.dirname(where) or '.')}{anchor})"

    return LINK.sub(mended, markdown)


def _in_site(goal: Path) -> str | None:
    """Where the site has a file of the repository; None: nowhere. A file of docs/ that is not there is for MkDocs to say."""
    name = goal.relative_to(ROOT).as_posix() if goal.is_relative_to(ROOT) else ""
    if name in FROM_ROOT:
        return FROM_ROOT[name]
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if name.startswith("examples/"):
        return name.removesuffix(".py") + ".md" if name.endswith(".py") else name
    return None
