"""What came out of an experiment: ExperimentAnalysis (of tune.run) and ResultGrid (of a Tuner)."""

from fasttune.analysis.experiment_analysis import ExperimentAnalysis as ExperimentAnalysis
from fasttune.analysis.result import Result as Result
from fasttune.analysis.result_grid import ResultGrid as ResultGrid
from fasttune.analysis.several import Analysis as Analysis
from fasttune.analysis.simulation import Simulation as Simulation
from fasttune.analysis.simulation import simulate as simulate

__all__ = ["Analysis", "ExperimentAnalysis", "Result", "ResultGrid", "Simulation", "simulate"]
