"""Names and folders that users' functions give to trials."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fasttune.error import TuneError
from fasttune.folder import is_ours, is_plain
from fasttune.trial import allowed_folder_name

if TYPE_CHECKING:
    from fasttune.config import RunSpec
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


class Naming:
    """What the user's functions say of each trial, once it is suggested.

    Attributes:
        is_wanted: There are such functions.
    """

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._folders: set[str] = set()  # that were given
        self.is_wanted = (
            spec.trial_name_creator is not None
            or spec.trial_dirname_creator is not None
            or any(callable(one.resources) for one in spec.trainables)
        )

    def ask(self, told: dict[str, Any], trial: Trial, experiment: int, usual_folder: Callable[[], str]) -> None:
        """Put into ``told`` the trial's name, folder and resources, those of them that functions give."""
        spec = self._spec
        if spec.trial_name_creator is not None:
            told["name"] = name_by(spec.trial_name_creator, trial).replace("/", "_")
        if spec.trial_name_creator is not None or spec.trial_dirname_creator is not None:
            own = spec.trial_dirname_creator
            folder = cleaned(name_by(own, trial)) if own is not None else usual_folder()
            refuse_our_names(folder, "trial_dirname_creator" if own is not None else "trial_name_creator")
            told["dirname"] = folder if folder not in self._folders else f"{folder}_{trial.trial_id}"
            self._folders.add(told["dirname"])
        request = spec.trainables[experiment].resources
        if callable(request):
            with suppress(Exception):  # costs this trial only, and is told when it is to start
                told["resources"] = request(trial.config).__reduce__()[1]
