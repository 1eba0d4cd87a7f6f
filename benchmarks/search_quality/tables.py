"""Tables of real tuning problems: every config of a grid, trained and scored once on data that scikit-learn brings.

    python -m benchmarks.search_quality.tables        makes those that are not there yet, in some CPU minutes

They lie in ``~/.cache/fasttune-benchmarks`` (another folder: FASTTUNE_BENCHMARKS), never in the repository. A loss is an error
on held-out data (of regressions the mean square, in variances of the target), so ties and noise are those of real scores.
"""

from __future__ import annotations

import itertools
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.search_quality.problems import Problem
from numpy.typing import NDArray

import fasttune as tune

Array = NDArray[Any]
Data = tuple[Array, Array, Array, Array]  # to train on: x, y; to score on: x, y


class Axis(NamedTuple):
    """One parameter: its values in the order of its domain, and the domain."""

    values: tuple[Any, ...]
    domain: Any
    by_place: bool = False  # the domain has the places of the values

    def place(self, value: Any) -> int:
        if self.by_place:
            return int(value)
        if isinstance(value, float):
            return int(np.argmin([abs(value - one) for one in self.values]))
        return self.values.index(value)


class Table(NamedTuple):
    """A grid of configs, what to do with one, and on which data; ``part`` "build" or "last"."""

    name: str
    part: str
    axes: Mapping[str, Axis]
    data: Callable[[], Data]
    model: Callable[[dict[str, Any]], Any]


def powers(low: float, high: float, step: float) -> Axis:
    """Decimal logarithms of a number, evenly spaced."""
    n = round((high - low) / step) + 1
    return Axis(tuple(round(low + k * step, 6) for k in range(n)), tune.quniform(low, high, step))


def integers(low: int, high: int, step: int = 1) -> Axis:
    values = tuple(range(low, high + 1, step))
    return Axis(values, tune.randint(0, len(values)), by_place=True)


def options(*values: Any) -> Axis:
    return Axis(values, tune.choice(list(values)))


def split(load: Callable[..., tuple[Array, Array]], n_train: int, n_score: int) -> Callable[[], Data]:
    """Standardised columns of one of scikit-learn's data sets."""

    def made() -> Data:
        x, y = load(return_X_y=True)
        order = np.random.default_rng(5).permutation(len(x))
        train, score = order[:n_train], order[n_train : n_train + n_score]
        mean, deviation = x[train].mean(0), x[train].std(0) + 1e-9
        x = (x - mean) / deviation
        return x[train], y[train], x[score], y[score]

    return made


def tables() -> list[Table]:
    """Half of them to build with, half for a last look."""
    from sklearn import datasets

    digits = split(datasets.load_digits, 500, 600)
    cancer = split(datasets.load_breast_cancer, 300, 269)
    diabetes = split(datasets.load_diabetes, 280, 162)
    wine = split(datasets.load_wine, 90, 88)
    return [
        Table("svc digits", "build", SVC, digits, svc),
        Table("boosting diabetes", "build", BOOSTING, diabetes, boosting),
        Table("sgd cancer", "build", SGD, cancer, sgd),
        Table("tree cancer", "build", TREE, cancer, tree),
        Table("svr diabetes", "build", SVR, diabetes, svr),
        Table("network wine", "build", NETWORK_BY_CHOICES, wine, network),
        Table("projected neighbours cancer", "build", PROJECTED_NEIGHBOURS, cancer, projected_neighbours),
        Table("network digits", "last", NETWORK, digits, network),
        Table("forest diabetes", "last", FOREST, diabetes, forest),
        Table("neighbours digits", "last", NEIGHBOURS, digits, neighbours),
        Table("tree digits", "last", TREE, digits, tree),
        Table("perceptron cancer", "last", PERCEPTRON, cancer, perceptron),
        Table("ridge diabetes", "last", RIDGE, diabetes, ridge),
        Table("svc wine by choices", "last", SVC_BY_CHOICES, wine, svc),
    ]


SVC = {
    "c": powers(-2, 3, 0.5),
    "gamma": powers(-5, 0, 0.5),
    "kernel": options("rbf", "poly", "sigmoid"),
    "coef0": integers(0, 4),
}


def svc(config: dict[str, Any]) -> Any:
    from sklearn.svm import SVC as Machine

    kernel, coef0 = config["kernel"], config["coef0"] / 2
    return Machine(C=10.0 ** config["c"], gamma=10.0 ** config["gamma"], kernel=kernel, coef0=coef0, max_iter=3000)


BOOSTING = {
    "rate": powers(-2.5, 0, 0.5),
    "leaves": integers(2, 26, 4),
    "least": integers(1, 41, 8),
    "l2": powers(-3, 2, 1),
    "stages": integers(10, 50, 20),
}


def boosting(config: dict[str, Any]) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        learning_rate=10.0 ** config["rate"],
        max_leaf_nodes=config["leaves"],
        min_samples_leaf=config["least"],
        l2_regularization=10.0 ** config["l2"],
        max_iter=config["stages"],
        early_stopping=False,
        random_state=0,
    )


SGD = {
    "alpha": powers(-6, 0, 0.5),
    "eta": powers(-4, 1, 0.5),
    "loss": options("hinge", "log_loss", "modified_huber"),
    "penalty": options("l2", "l1", "elasticnet"),
    "schedule": options("constant", "invscaling", "adaptive"),
}


def sgd(config: dict[str, Any]) -> Any:
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(
        alpha=10.0 ** config["alpha"],
        eta0=10.0 ** config["eta"],
        loss=config["loss"],
        penalty=config["penalty"],
        learning_rate=config["schedule"],
        max_iter=8,
        tol=None,
        random_state=0,
    )


NETWORK = {
    "rate": powers(-4, -1, 0.5),
    "alpha": powers(-5, 1, 1),
    "units": integers(5, 45, 10),
    "activation": options("relu", "tanh", "logistic"),
    "batch": options(16, 64),
}


def network(config: dict[str, Any]) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        hidden_layer_sizes=(config["units"],),
        learning_rate_init=10.0 ** config["rate"],
        alpha=10.0 ** config["alpha"],
        activation=config["activation"],
        batch_size=config["batch"],
        max_iter=6,
        random_state=0,
    )


FOREST = {
    "depth": integers(1, 12),
    "least": integers(1, 21, 4),
    "share": Axis(tuple(round(0.1 * k, 6) for k in range(1, 11)), tune.quniform(0.1, 1.0, 0.1)),
    "bootstrap": options(True, False),
    "kind": options("forest", "extra"),
}


def forest(config: dict[str, Any]) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

    made = RandomForestRegressor if config["kind"] == "forest" else ExtraTreesRegressor
    return made(
        n_estimators=20,
        max_depth=config["depth"],
        min_samples_leaf=config["least"],
        max_features=float(config["share"]),
        bootstrap=config["bootstrap"],
        random_state=0,
    )


NEIGHBOURS = {
    "k": integers(1, 20),
    "p": integers(1, 4),
    "components": integers(4, 40, 4),
    "weights": options("uniform", "distance"),
    "whiten": options(False, True),
}


def neighbours(config: dict[str, Any]) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        PCA(config["components"], whiten=config["whiten"], random_state=0),
        KNeighborsClassifier(config["k"], p=config["p"], weights=config["weights"]),
    )


TREE = {
    "depth": integers(1, 12),
    "split": integers(2, 26, 4),
    "leaf": integers(1, 16, 3),
    "share": Axis(tuple(round(0.2 * k, 6) for k in range(1, 6)), tune.quniform(0.2, 1.0, 0.2)),
    "criterion": options("gini", "entropy"),
}


def tree(config: dict[str, Any]) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(
        max_depth=config["depth"],
        min_samples_split=config["split"],
        min_samples_leaf=config["leaf"],
        max_features=float(config["share"]),
        criterion=config["criterion"],
        random_state=0,
    )


SVR = {
    "c": powers(-2, 3, 0.5),
    "gamma": powers(-5, 0, 0.5),
    "epsilon": powers(-2, 2, 1),
    "kernel": options("rbf", "poly", "sigmoid", "linear"),
}


def svr(config: dict[str, Any]) -> Any:
    from sklearn.svm import SVR as Machine

    c, gamma, epsilon = (10.0 ** config[name] for name in ("c", "gamma", "epsilon"))
    return Machine(C=c, gamma=gamma, epsilon=epsilon, kernel=config["kernel"], max_iter=3000)


# Numbers as many write them: options, of which nobody says that they have an order.
NETWORK_BY_CHOICES = {
    "rate": options(-4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0),
    "alpha": options(-5.0, -3.0, -1.0, 0.0, 1.0),
    "units": options(4, 8, 16, 32, 64),
    "activation": options("relu", "tanh", "logistic"),
    "batch": options(8, 16, 32, 64),
}
SVC_BY_CHOICES = {
    "c": options(-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
    "gamma": options(-5.0, -4.0, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0),
    "kernel": options("rbf", "poly", "sigmoid"),
    "coef0": options(0, 1, 2, 3, 4),
}

PROJECTED_NEIGHBOURS = {
    "k": integers(1, 30),
    "p": integers(1, 3),
    "components": integers(2, 26, 4),
    "weights": options("uniform", "distance"),
    "projection": options("pca", "random"),
}


def projected_neighbours(config: dict[str, Any]) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.random_projection import GaussianRandomProjection

    project = PCA if config["projection"] == "pca" else GaussianRandomProjection
    return make_pipeline(
        project(config["components"], random_state=0),
        KNeighborsClassifier(config["k"], p=config["p"], weights=config["weights"]),
    )


PERCEPTRON = {
    "alpha": powers(-6, 0, 0.5),
    "eta": powers(-4, 1, 0.5),
    "share": Axis((0.05, 0.15, 0.5, 0.85), tune.choice([0.05, 0.15, 0.5, 0.85])),
    "penalty": options("l2", "l1", "elasticnet", None),
    "averaged": options(True, False),
}


def perceptron(config: dict[str, Any]) -> Any:
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(
        loss="perceptron",
        alpha=10.0 ** config["alpha"],
        eta0=10.0 ** config["eta"],
        l1_ratio=config["share"],
        penalty=config["penalty"],
        average=config["averaged"],
        learning_rate="constant",
        max_iter=8,
        tol=None,
        random_state=0,
    )


RIDGE = {
    "alpha": powers(-5, 2, 0.5),
    "gamma": powers(-5, 0, 0.5),
    "kernel": options("rbf", "laplacian", "polynomial", "sigmoid"),
    "degree": integers(1, 5),
}


def ridge(config: dict[str, Any]) -> Any:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.preprocessing import StandardScaler

    machine = KernelRidge(
        alpha=10.0 ** config["alpha"], gamma=10.0 ** config["gamma"], kernel=config["kernel"], degree=config["degree"]
    )
    return TransformedTargetRegressor(machine, transformer=StandardScaler())


def folder() -> Path:
    return Path(os.environ.get("FASTTUNE_BENCHMARKS", "~/.cache/fasttune-benchmarks")).expanduser()


def losses(table: Table) -> NDArray[np.float64]:
    """One for each config, by the places of its values; made where they are not there yet."""
    path = folder() / f"{table.name.replace(' ', '_')}.npy"
    shape = tuple(len(axis.values) for axis in table.axes.values())
    if path.exists() and (found := np.load(path)).shape == shape:
        return np.asarray(found, dtype=float)
    begin = time.perf_counter()
    x, y, x_score, y_score = table.data()
    spread = float(np.var(y_score)) if y.dtype.kind == "f" else 0.0
    out = np.empty(shape)
    for at in itertools.product(*(range(n) for n in shape)):
        config = {name: axis.values[k] for (name, axis), k in zip(table.axes.items(), at, strict=True)}
        out[at] = error_of(table.model(config), x, y, x_score, y_score, spread)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, out.astype(np.float32))
    partial.rename(path)
    print(f"{table.name}: {out.size:,} configs in {time.perf_counter() - begin:.0f} s", flush=True)
    return out.astype(np.float32).astype(float)


def error_of(model: Any, x: Array, y: Array, x_score: Array, y_score: Array, spread: float) -> float:
    """What a trial of this model would report; what cannot be fitted is as bad as knowing nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer = model.fit(x, y).predict(x_score)
        except (ValueError, np.linalg.LinAlgError):  # weights that are not finite any more
            return 1.0
    if not spread:
        return float(np.mean(answer != y_score))
    error = float(np.mean((answer - y_score) ** 2)) / spread
    return min(error, 2.0) if math.isfinite(error) else 2.0


def tabled(part: str) -> list[Problem]:
    """The problems of the tables of one part: what is left to the best config."""
    return [_problem(table) for table in tables() if table.part == part]


def _problem(table: Table) -> Problem:
    found = losses(table)
    least = float(found.min())
    space = {name: axis.domain for name, axis in table.axes.items()}

    def loss(config: dict[str, Any]) -> float:
        at = tuple(axis.place(config[name]) for name, axis in table.axes.items())
        return float(found[at]) - least

    return Problem(table.name, "tables", space, loss, table.part, float(np.median(found)) - least)


def main() -> None:
    np.seterr(all="ignore")
    for table in tables():
        found = losses(table)
        print(f"{table.name}: {found.size:,} configs, loss from {found.min():.4f}, median {np.median(found):.4f}")


if __name__ == "__main__":
    main()
