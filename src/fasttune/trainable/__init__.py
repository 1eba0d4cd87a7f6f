"""What can be tuned: functions of a config, and classes that are stepped.

Trainable         the class to derive from
with_parameters   hand large objects, or such as do not belong into a config, to every trial
with_resources    say what one trial needs
call_form         in which of its forms a function wants to be called
trainable_name    what it is called in tables and folders
"""

from .attached import attached_resources as attached_resources
from .attached import with_parameters as with_parameters
from .attached import with_resources as with_resources
from .call_forms import call_form as call_form
from .call_forms import check_function as check_function
from .call_forms import is_async as is_async
from .call_forms import is_vectorized as is_vectorized
from .call_forms import saves_when_told as saves_when_told
from .call_forms import takes_state as takes_state
from .call_forms import trainable_name as trainable_name
from .call_forms import vector_of as vector_of
from .containers import copy_containers as copy_containers
from .stepped import METHODS as METHODS
from .stepped import Trainable as Trainable
from .stepped import check_trainable as check_trainable
from .stepped import counted_in as counted_in
from .stepped import is_trainable_class as is_trainable_class
from .stepped import validate_save_restore as validate_save_restore

__all__ = [
    "METHODS",
    "Trainable",
    "attached_resources",
    "call_form",
    "check_function",
    "check_trainable",
    "copy_containers",
    "counted_in",
    "is_async",
    "is_trainable_class",
    "is_vectorized",
    "saves_when_told",
    "takes_state",
    "trainable_name",
    "validate_save_restore",
    "vector_of",
    "with_parameters",
    "with_resources",
]
