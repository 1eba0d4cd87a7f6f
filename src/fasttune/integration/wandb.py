"""Weights & Biases: ``WandbLoggerCallback`` for a run, ``setup_wandb`` for a trial that logs by itself."""

from fasttune.logger.wandb import WandbLoggerCallback as WandbLoggerCallback
from fasttune.logger.wandb import setup_wandb as setup_wandb

__all__ = ["WandbLoggerCallback", "setup_wandb"]
