"""Files and services that a run can be written to beside its journal. Each is a Callback; none is on by
default.
"""

from fasttune.logger.base import LoggerCallback as LoggerCallback
from fasttune.logger.csv import CSVLoggerCallback as CSVLoggerCallback
from fasttune.logger.json import JsonLoggerCallback as JsonLoggerCallback
from fasttune.logger.pretty import pretty_print as pretty_print

__all__ = ["CSVLoggerCallback", "JsonLoggerCallback", "LoggerCallback", "pretty_print"]
