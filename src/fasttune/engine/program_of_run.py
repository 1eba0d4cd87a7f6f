"""What workers have to know of a run: its Program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttune.executors.base import Program, ProgramTrainable
from fasttune.result import AUTO_RESULT_KEYS
from fasttune.rule import NO_RULE
from fasttune.trainable import call_form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasttune.config import RunSpec
    from fasttune.engine.state import ExperimentState


def program_of(spec: RunSpec, state: ExperimentState, limits: Mapping[str, float]) -> Program:
    """The program of a run whose trials are held to these ``limits`` (metric -> threshold)."""
    return Program(
        name=spec.name,
        path=spec.path,
        prefix=state.meta["prefix"],
        trainables=_trainables(spec, state),
        metric=spec.metric,
        constraints=spec.constraints,
        strict=spec.strict_metric and spec.metric not in AUTO_RESULT_KEYS,
        limits=dict(limits),
        rule=state.rule if state.rule is not None else NO_RULE,
        asks=state.asks,
        pauses=state.chooses,
        scheduler_pauses=type(spec.scheduler).__name__ if spec.scheduler.pauses else "",
        only_to_change=spec.scheduler.pauses_to_change,
        total=state.total,
        reuse_actors=spec.reuse_actors,
        checkpoint_frequency=spec.checkpoint.checkpoint_frequency,
        checkpoint_at_end=bool(spec.checkpoint.checkpoint_at_end),
        log_to_file=spec.log_to_file,
        durable=spec.durability == "full",
        measures_usage=spec.measure_usage,
    )


def _trainables(spec: RunSpec, state: ExperimentState) -> list[ProgramTrainable]:
    forms = ["config" if isinstance(one.trainable, type) else call_form(one.trainable) for one in spec.trainables]
    return [
        ProgramTrainable(
            one.name,
            one.trainable,
            isinstance(one.trainable, type),
            form,
            one.resources,
            state.configs.variants[k] if state.configs.variants else None,
            _column_names(one.space) if form == "columns" else None,
        )
        for k, (one, form) in enumerate(zip(spec.trainables, forms, strict=True))
    ]


def _column_names(space: dict[str, Any]) -> Any:
    from fasttune.space.config_columns import names_of

    return names_of(space)
