"""Callbacks for training libraries: what they measure is reported while they train, under Ray Tune's names.

One module for each library, named after it (``fasttune.integration.xgboost``), because a library is loaded with its module.
Importing one for a training library that is not installed is an ImportError that says what to install. Three others
(``mlflow``, ``wandb``, ``comet``) hold what logs there.
"""
