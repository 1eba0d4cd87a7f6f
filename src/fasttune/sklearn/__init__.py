"""Search classes for scikit-learn: ``TuneSearchCV`` and ``TuneGridSearchCV``, under the names that tune-sklearn gave them.

They take the place of ``RandomizedSearchCV`` and ``GridSearchCV``: candidates are trials of a run, so every searcher and scheduler
of fasttune works on them. Needs scikit-learn (``pip install 'fasttune[sklearn]'``).
"""

from __future__ import annotations

from fasttune.extras import optional as _optional

_optional("sklearn", "sklearn", "fasttune.sklearn", "1.6")

from fasttune.sklearn.search_cv import TuneGridSearchCV as TuneGridSearchCV  # noqa: E402
from fasttune.sklearn.search_cv import TuneSearchCV as TuneSearchCV  # noqa: E402

__all__ = ["TuneGridSearchCV", "TuneSearchCV"]
