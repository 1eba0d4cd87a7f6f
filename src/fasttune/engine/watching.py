"""Which records Python has to see, and what is made of them: in the plainest case none, and nothing."""

from __future__ import annotations

from collections.abc import Collection

from fasttune import _core

REPORTS = 1 << _core.KIND_REPORT
SCORED = 1 << _core.KIND_CHECKPOINT  # the reports that checkpoints belong to
ENDS = 1 << _core.KIND_END
STARTS = 1 << _core.KIND_START | 1 << _core.KIND_RESUMED
WISHES = "should_checkpoint"  # among the hooks: callbacks may ask for a checkpoint of what they are told


class Watching:
    """What a run asks of each record, found out once.

    Args:
        hooks: The callback hooks that somebody listens to.
        hears_reports, hears_ends: The searcher does.
        stopper_asks: A stopper is asked about every report.
        asks, chooses: The scheduler is; it says which trial runs.
        ranks: Checkpoints are ranked, and go when their trial has ended.

    Attributes:
        kinds: Bits of the kinds, see ``TrialTable.apply``.
        reports: Every report is looked at. Those that wait for an answer are anyway.
        shown: Reports are shown as users see them, nested.
    """

    def __init__(
        self, hooks: Collection[str], *, hears_reports: bool, hears_ends: bool, stopper_asks: bool, asks: bool, chooses: bool,
        ranks: bool,
    ) -> None:  # fmt: skip
        self.reports = hears_reports or stopper_asks or "on_trial_result" in hooks
        self.shown = stopper_asks or "on_trial_result" in hooks
        self.kinds = SCORED
        if self.reports:
            self.kinds |= REPORTS
        if asks or hears_ends or ranks or not {"on_trial_complete", "on_trial_error"}.isdisjoint(hooks):
            self.kinds |= ENDS
        if chooses or not {"on_trial_start", "on_trial_restore"}.isdisjoint(hooks):
            self.kinds |= STARTS
