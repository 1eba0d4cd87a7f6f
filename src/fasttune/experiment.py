"""What Ray Tune has in a module of this name."""

from fasttune.config import Experiment as Experiment
from fasttune.trial import Trial as Trial
