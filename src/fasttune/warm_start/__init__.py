"""What was found elsewhere, as a beginning: ``tune.run(..., warm_start=tune.warm_start.from_optuna(study))``.

Each source of known trials is a function of its own module here, which returns a :class:`WarmStart`.
"""

from __future__ import annotations

from fasttune.warm_start.cv_results import from_cv_results as from_cv_results
from fasttune.warm_start.experiment import from_experiment as from_experiment
from fasttune.warm_start.known import KnownTrial as KnownTrial
from fasttune.warm_start.known import WarmStart as WarmStart
from fasttune.warm_start.optuna import from_optuna as from_optuna
from fasttune.warm_start.ray import from_ray as from_ray

__all__ = ["KnownTrial", "WarmStart", "from_cv_results", "from_experiment", "from_optuna", "from_ray"]
