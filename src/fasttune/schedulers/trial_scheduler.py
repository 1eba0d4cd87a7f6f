"""What a scheduler derives from, under the name that Ray Tune has it under. It lives in ``schedulers/base.py``."""

from fasttune.schedulers.base import FIFOScheduler as FIFOScheduler
from fasttune.schedulers.base import TrialScheduler as TrialScheduler
