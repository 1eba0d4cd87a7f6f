"""MLflow: ``MLflowLoggerCallback`` for a run, ``setup_mlflow`` for a trial that logs by itself."""

from fasttune.logger.mlflow import MLflowLoggerCallback as MLflowLoggerCallback
from fasttune.logger.mlflow import setup_mlflow as setup_mlflow

__all__ = ["MLflowLoggerCallback", "setup_mlflow"]
