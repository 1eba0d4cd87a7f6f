"""Going on: what an earlier session left is folded and seen again, and it is decided what of it runs on.

Replay and run are one fold: ``ExperimentState.react`` with ``live`` false tells schedulers, searchers and stoppers what they saw
then, and does nothing about it. What the earlier session had decided and not lived to do is done here, at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.checkpoint import memory_key
from fasttune.config import ResumeType
from fasttune.engine.facts import ONE_TRIAL
from fasttune.engine.judgements import Judgements
from fasttune.engine.orders import OVER
from fasttune.engine.phases import BEING_PAUSED, CHOSEN
from fasttune.engine.records import ALIVE
from fasttune.engine.state import ExperimentState
from fasttune.engine.watching import ENDS
from fasttune.error import TuneError
from fasttune.once import warn_in_run

if TYPE_CHECKING:
    from fasttune.config import ResumeConfig
    from fasttune.storage.base import Entry

Event = tuple[Any, ...]  # of a record that was folded, see ``TrialTable.apply``

DECISIONS = 1 << _core.KIND_DECISION
CHOICES = 1 << _core.KIND_CHOSEN  # what was handed out and is not known to have begun


def resume(
    state: ExperimentState,
    entries: Iterator[tuple[int, int, bytes]],
    asked: ResumeConfig,
    left: Callable[[dict[int, int]], Iterable[Entry]],
    new_space: bool = False,
) -> Judgements | None:
    """Fold an earlier session's journal, and what it has ``left`` in rings behind the positions where that ends, in its order.
    What fits of the latter is in ``state.leftovers``. With ``new_space`` what comes from here on is of another space. Gives what a
    compiled rule has judged."""
    judged = replay(state, entries, left)
    state.go_on_from_here()
    forget_missing_checkpoints(state)
    do_what_was_decided(state)
    requeue_unfinished(state, asked)
    if new_space:
        take_new_space(state)
    state.carry_out(state.orders.after_replay())
    return judged


def replay(
    state: ExperimentState, entries: Iterator[tuple[int, int, bytes]], left: Callable[[dict[int, int]], Iterable[Entry]]
) -> Judgements | None:
    """Everybody sees again what happened; gives what a compiled rule has judged."""
    state.live, state.rereads, state.handlers = False, True, SEEN_AGAIN
    rule = state.rule
    judged = Judgements(state.metric, rule.smooth) if rule is not None and rule.kind != "none" and not state.asks else None
    watch = state.watching.kinds | ENDS | CHOICES | DECISIONS
    for source, fits, events in state.fold_journal(entries, watch):
        if judged is not None:
            judged.add(source, fits)
        state.react(events)
    ends = state.journal_ends
    state.react(state.take_leftovers(left(ends), ends, watch, in_turns=state.asks))
    if judged is not None:
        for source, _, data in state.leftovers:
            judged.add(source, data)
    state.live, state.rereads, state.handlers = True, False, state.HANDLERS
    return judged


# -- what an earlier session did itself ----------------------------------------------------------------------------------


def _on_configs(state: ExperimentState, event: Event) -> None:
    state.unfollowed.ending = False
    state.add(range(event[1], event[1] + event[3]))


def _on_config(state: ExperimentState, event: Event) -> None:
    i = event[1]
    state.unfollowed.ending = False
    state.suggest_again(i)
    state.add(range(i, i + 1))


def _on_decision(state: ExperimentState, event: Event) -> None:
    if not event[2] & ONE_TRIAL:
        state.unfollowed.ending = True
    elif 0 <= event[1] < len(state):
        state.stops.asked[event[1]] = True


def _on_chosen(state: ExperimentState, event: Event) -> None:
    if event[2] & _core.BACK:
        state.phases.take_back(event[1])
    elif 0 <= event[1] < len(state) and state.phases.of(event[1]) in CHOSEN:  # a stranger's journal may say anything
        state.phases.choose(event[1])


def _on_requeued(state: ExperimentState, event: Event) -> None:
    i = event[1]
    if event[2] & _core.FRESH:
        state.kept.forget(i)
    had_failed = state.unfollowed.requeued(i)
    state.phases.rest(i)
    state.stops.asked.pop(i, None)
    if event[2] & _core.AGAIN:
        state.hearing.again(i)
        state.add_again(i)
    elif had_failed:
        state.add_again(i)


SEEN_AGAIN: dict[int, Callable[[ExperimentState, Event], None]] = {
    **ExperimentState.HANDLERS,
    _core.KIND_CONFIGS: _on_configs,
    _core.KIND_CONFIG: _on_config,
    _core.KIND_DECISION: _on_decision,
    _core.KIND_CHOSEN: _on_chosen,
    _core.KIND_REQUEUED: _on_requeued,
}


# -- what it has left to be done -----------------------------------------------------------------------------------------


def forget_missing_checkpoints(state: ExperimentState) -> None:
    """Bring what is kept, as the replay says, together with what is there."""
    stored = state.storage.checkpoint_keys() if state.storage is not None else set()
    stored |= {key for name in state.saves.unsaved if (key := memory_key(name)) is not None}

    def is_there(path: str) -> bool:
        key = memory_key(path)
        return os.path.isdir(path) if key is None else key in stored

    state.kept.compare_with(stored, is_there)


def do_what_was_decided(state: ExperimentState) -> None:
    """Decisions about reports that the journal has, and that the earlier session did not live to answer."""
    undone = state.unfollowed.take_decisions()
    for i in state.phases.those_in(BEING_PAUSED):
        state.phases.rest(i)
    asked, state.stops.asked = state.stops.asked, {}
    for i in sorted(asked):  # they are over, as whoever asked was promised
        if state.table.status(i) not in OVER:
            (state.end if state.table.status(i) == "RUNNING" else state.remove)(i)
    for i in state.unfollowed.take_retries():
        if state.table.status(i) != "ERROR":
            continue
        if state.may_try_again(i):
            state.record(_core.KIND_REQUEUED, i, 0)
            state.add_again(i)
        else:  # this run gives fewer tries
            state.tell_failed(i)
    for i, decision in undone.items():
        if state.table.status(i) != "RUNNING":
            continue
        if decision == _core.STOP:
            state.end(i)
        elif decision == _core.PAUSE:
            state.record(_core.KIND_PAUSED, i, state.table.iteration(i))


def requeue_unfinished(state: ExperimentState, asked: ResumeConfig) -> None:
    """What is asked becomes of each trial, by its status."""
    wishes = {"TERMINATED": asked.finished, "ERROR": asked.errored}
    lost: dict[str, list[int]] = {}  # what of configs is not in the journal as it was, and whose
    for i in range(len(state)):
        status = state.table.status(i)
        wish = wishes.get(status, asked.unfinished)
        if wish == ResumeType.RESUME and status != "TERMINATED" and state.is_row_only(i):
            wish = ResumeType.RESTART  # the call that it could have gone on in is over
        if wish == ResumeType.SKIP:
            if status in ("PENDING", "RUNNING", "PAUSED"):
                state.record(_core.KIND_END, i, 0, flags=_core.STOP)
            if status != "ERROR":
                state.kept.ended(i)
            continue
        for what in state.restore_config(i):
            lost.setdefault(what, []).append(i)
        again = _core.AGAIN if status == "TERMINATED" else 0
        if wish == ResumeType.RESTART and state.saves.has_any(i):
            state.kept.forget(i)
            for path in state.saves.paths(i):
                state.kept.delete(path)
            state.record(_core.KIND_REQUEUED, i, 0, flags=_core.FRESH | again)
        elif status == "PAUSED" and state.chooses and wish != ResumeType.RESTART:
            continue  # it stays so until it is chosen
        elif status != "PENDING":
            state.record(_core.KIND_REQUEUED, i, 0, flags=again)
        if again:
            state.hearing.again(i)
        if status in ("ERROR", "TERMINATED"):
            state.add_again(i)
        if not state.chooses:
            state.choosing.wait(i)
    for path in state.saves.given_points():  # what another trial goes on from stays
        state.kept.spare(path)
    for what, trials in lost.items():
        warn_in_run(
            f"{state.path}: the configs of {len(trials)} trials that go on (the first: {state.trial_id(trials[0])}) hold "
            f"{what}: the journal does not have it as it was, because it could not be pickled or unpickled, or is too large",
            RuntimeWarning,
            stacklevel=2,
        )


def take_new_space(state: ExperimentState) -> None:
    """From the next trial on the space is the one that this run was asked. TuneError if trials are to go on whose configs only
    the program of the earlier space could make."""
    gone = [i for status in ALIVE for i in state.table.of_status(status) if not is_told_whole(state, i)]
    if gone:
        raise TuneError(
            f"{len(gone)} trials of the earlier search space are to go on (the first: {state.trial_id(gone[0])}), and "
            "their configs hold objects, which are text in the journal: finish them with the space that was, or end "
            "them with ResumeConfig(unfinished='skip', new_space=True)"
        )
    state.sessions = state.space_since
    state.configs.space_from = len(state)
    state.configs.variants = state.suggestions.next_variants(state.configs.variants)


def is_told_whole(state: ExperimentState, i: int) -> bool:
    """The journal holds the config of trial i as it is, not as a text in places."""
    chunk = state.configs.chunk_of(i)
    return bool(chunk.variants.whole) if chunk is not None else state.told_whole[state.experiment_of(i)]
