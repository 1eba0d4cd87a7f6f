"""Comet: ``CometLoggerCallback`` for a run."""

from fasttune.logger.comet import CometLoggerCallback as CometLoggerCallback

__all__ = ["CometLoggerCallback"]
