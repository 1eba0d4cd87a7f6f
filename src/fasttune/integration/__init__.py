"""Callbacks for training libraries: what they measure is reported while they train, under Ray Tune's names.

One module for each library, named after it (``fasttune.integration.xgboost``), because a library is loaded with its module.
Importing one whose library is not installed is an ImportError that says what to install.
"""
