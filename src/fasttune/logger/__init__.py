"""Files and services that a run can be written to beside its journal. Each is a Callback; none is on by default.

CSV and JSON files are written by the run as it goes on. The others are JournalLoggers: they follow the journal behind it.
"""

from fasttune.logger.aim import AimLoggerCallback as AimLoggerCallback
from fasttune.logger.base import LoggerCallback as LoggerCallback
from fasttune.logger.behind import JournalLogger as JournalLogger
from fasttune.logger.behind import LoggedExperiment as LoggedExperiment
from fasttune.logger.comet import CometLoggerCallback as CometLoggerCallback
from fasttune.logger.csv import CSVLoggerCallback as CSVLoggerCallback
from fasttune.logger.json import JsonLoggerCallback as JsonLoggerCallback
from fasttune.logger.mlflow import MLflowLoggerCallback as MLflowLoggerCallback
from fasttune.logger.pretty import pretty_print as pretty_print
from fasttune.logger.tensorboardx import TBXLoggerCallback as TBXLoggerCallback
from fasttune.logger.wandb import WandbLoggerCallback as WandbLoggerCallback

TBXLogger = TBXLoggerCallback  # its name in Ray Tune 1.x
BEHIND = (TBXLoggerCallback, MLflowLoggerCallback, WandbLoggerCallback, AimLoggerCallback, CometLoggerCallback)  # for `fasttune log`

__all__ = [
    "BEHIND",
    "AimLoggerCallback",
    "CSVLoggerCallback",
    "CometLoggerCallback",
    "JournalLogger",
    "JsonLoggerCallback",
    "LoggedExperiment",
    "LoggerCallback",
    "MLflowLoggerCallback",
    "TBXLogger",
    "TBXLoggerCallback",
    "WandbLoggerCallback",
    "pretty_print",
]
