"""Which scheduler would have done? One experiment on real data, and four answers without training anything again.

    python examples/which_scheduler.py             a few seconds

Every trial trains scikit-learn's ``SGDClassifier`` on handwritten digits for 27 epochs, and nothing is stopped. Then the
recorded curves are run again in virtual time under ASHA with several settings: what would each have cost, and would it
have found the best?
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.schedulers import ASHAScheduler

EPOCHS = 27
SPACE = {
    "eta0": tune.loguniform(1e-5, 1e1),
    "alpha": tune.loguniform(1e-7, 1e-1),
    "loss": tune.choice(["hinge", "log_loss", "modified_huber"]),
}


def train(config: dict[str, Any], digits: Any) -> None:
    x_train, x_valid, y_train, y_valid = digits
    model = SGDClassifier(learning_rate="constant", random_state=0, **config)
    for _ in range(EPOCHS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of these learning rates overflow
            try:
                model.partial_fit(x_train, y_train, classes=np.arange(10))
            except ValueError:
                return
        tune.report(accuracy=float(model.score(x_valid, y_valid)))


def record(trials: int, executor: str = "process") -> tune.ExperimentAnalysis:
    """The experiment that stops nothing."""
    x, y = load_digits(return_X_y=True)
    digits = train_test_split(x / 16.0, y, test_size=0.3, random_state=0)
    return tune.run(
        tune.with_parameters(train, digits=digits),
        config=SPACE,
        num_samples=trials,
        metric="accuracy",
        mode="max",
        scope="all",  # of a trial that would have been stopped, too, the best epoch is known
        seed=0,
        executor=executor,
        verbose=0,
    )


def main(trials: int = 60, executor: str = "process") -> dict[int, Any]:
    analysis = record(trials, executor)
    answers = {}
    for eta in (2, 3, 4, 9):
        answers[eta] = analysis.what_if(ASHAScheduler(max_t=EPOCHS, reduction_factor=eta), workers=4)
    print(answers[3], end="\n\n")
    print("reduction_factor  epochs  of a full run  best accuracy")
    for eta, answer in answers.items():
        share = answer.would.epochs / answer.was.epochs
        print(f"{eta:>16}  {answer.would.epochs:>6}  {share:>13.0%}  {answer.would.best:>13.3f}")
    return answers


if __name__ == "__main__":
    main()
