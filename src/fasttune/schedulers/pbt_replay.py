"""The schedule of configs that population based training found, given to one trial."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fasttune.once import warn_in_run
from fasttune.schedulers.base import Change, Order, Save, TrialScheduler
from fasttune.schedulers.explore import perturbed_tag
from fasttune.schedulers.view import ExperimentView
from fasttune.trial import Trial


class Policy(NamedTuple):
    """From ``iteration`` on the trial gets ``config``."""

    iteration: int
    config: dict[str, Any]


class PopulationBasedTrainingReplay(TrialScheduler):
    """Trains one trial with the configs that a trial of a population had, each from the iteration at which it began.

    Args:
        policy_file: a ``pbt_policy_<trial id>.txt`` of a run with PopulationBasedTraining, of this package or of Ray
            Tune: a line per copy, the trial's own last. ValueError if there is none.

    The trial begins with the first config of the history, and is paused, saved and changed where the trial of the
    population had copied another one. It must be able to go on from its checkpoints. More than one trial is a
    ValueError.
    """

    takes_searcher = False
    pauses = True

    def __init__(self, policy_file: str | os.PathLike[str]) -> None:
        super().__init__()
        path = os.path.expanduser(os.fspath(policy_file))
        if not os.path.isfile(path):
            raise ValueError(f"there is no policy file {path!r}; PopulationBasedTraining writes one per trial that copied")
        with open(path, encoding="utf-8") as file:
            self.config, self.policies = read_policy(file, path)
        self._next = 0
        self._trial: int | None = None
        self._orders: list[Order] = []

    def complete_space(self, space: Mapping[str, Any]) -> dict[str, Any]:
        replaced = sorted(set(space) & set(self.config))
        if replaced:
            warn_in_run(
                f"{type(self).__name__} takes {', '.join(replaced)} from its policy file; what the run's config says of "
                "them has no effect",
                stacklevel=2,
            )
        return {**space, **self.config}

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        if self._trial not in (None, trial.index):
            raise ValueError(f"{type(self).__name__} replays one trial, and there is a second one: num_samples must be 1")
        self._trial = trial.index

    def ask_from(self, trial: Trial) -> int:
        return self.policies[self._next].iteration if self._next < len(self.policies) else 1 << 31

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        due = [policy for policy in self.policies[self._next :] if policy.iteration <= result["training_iteration"]]
        if not due or result.get("done") or trial.is_finished():
            return self.CONTINUE
        self._next += len(due)
        config = {**trial.config, **due[-1].config}
        tag = perturbed_tag(trial.experiment_tag, config, due[-1].config)
        self._orders += [Save(trial), Change(trial, config=config, donor=trial, tag=tag)]
        return self.PAUSE

    def orders(self) -> Sequence[Order]:
        orders, self._orders = self._orders, []
        return orders

    def debug_string(self) -> str:
        return f"{type(self).__name__}: {self._next} of {len(self.policies)} changes made"


def read_policy(lines: Iterable[str], path: str) -> tuple[dict[str, Any], list[Policy]]:
    """The first config and the changes after it, of the trial that the last line is about.

    A line is JSON: [tag, donor's tag, iteration, donor's iteration, donor's config, new config]. Backwards, lines
    belong to the story as long as each one's trial is the donor of the one after it.
    """
    story: list[Policy] = []
    first: dict[str, Any] | None = None
    wanted: str | None = None
    for number, line in reversed(list(enumerate(lines, start=1))):
        try:
            tag, donor_tag, _, iteration, old, new = json.loads(line)
        except ValueError:
            raise ValueError(f"line {number} of {path!r} is not a line of a policy file: {line!r:.80}") from None
        if wanted is not None and tag != wanted:
            break
        story.append(Policy(int(iteration), new))
        first, wanted = old, donor_tag
    if first is None:
        raise ValueError(f"the policy file {path!r} is empty: its trial has copied no other")
    return first, story[::-1]
