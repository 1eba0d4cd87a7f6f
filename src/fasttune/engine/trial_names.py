"""Names and folders that users' functions give to trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fasttune.error import TuneError
from fasttune.folder import is_ours, is_plain
from fasttune.trial import allowed_folder_name

if TYPE_CHECKING:
    from fasttune.trial import Trial


def name_by(creator: Callable[[Trial], str], trial: Trial) -> str:
    """What a user's function calls the trial; TuneError unless it is a name."""
    name = creator(trial)
    if not isinstance(name, str) or not name:
        raise TuneError(f"{getattr(creator, '__name__', creator)}({trial.trial_id}) must return a name, got {name!r}")
    return name


def cleaned(name: str) -> str:
    """A folder's name as a user's function gave it."""
    if not is_plain(name):
        raise ValueError(f"trial_dirname_creator must return the name of a folder without '/', got {name!r}")
    return allowed_folder_name(name)


def refuse_our_names(folder: str, said_by: str) -> None:
    """ValueError for a trial's folder that would be one of the experiment's own."""
    if is_ours(folder):
        raise ValueError(
            f"{said_by} made {folder!r} the name of a trial's folder, but fasttune uses that name itself in an "
            "experiment's folder (upper and lower case are one): what the trial saves there would be written over or "
            f"deleted. Name it otherwise, e.g. {'trial_' + folder.lstrip('.')!r}"
        )
