"""Search classes for scikit-learn: ``TuneSearchCV`` and ``TuneGridSearchCV``, under the names that tune-sklearn gave them.

They take the place of ``RandomizedSearchCV`` and ``GridSearchCV``: candidates are trials of a run, so every searcher and scheduler
of fasttune works on them. Needs scikit-learn (``pip install 'fasttune[sklearn]'``). A name is loaded when it is first used: workers
need no analysis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttune.extras import optional as _optional

if TYPE_CHECKING:
    from fasttune.sklearn.search_cv import TuneGridSearchCV as TuneGridSearchCV
    from fasttune.sklearn.search_cv import TuneSearchCV as TuneSearchCV

_optional("sklearn", "sklearn", "fasttune.sklearn", "1.6")

__all__ = ["TuneGridSearchCV", "TuneSearchCV"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fasttune.sklearn import search_cv

    return getattr(search_cv, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
