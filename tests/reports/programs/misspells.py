"""Names that nothing will ever have are refused before the run, or said when its first trials have ended."""

import warnings

import fasttune as tune
from fasttune.schedulers import ASHAScheduler
from fasttune.search import create_searcher


def train(config):
    for step in range(4):
        tune.report(loss=config["rate"] + step)


LOSS = {"metric": "loss", "mode": "min"}
POINT = [{"raet": 0.5}]
MISTAKES = {
    "a point's key": lambda: {"search_alg": create_searcher("tpe", points_to_evaluate=POINT), **LOSS},
    "a point's key, without a searcher": lambda: {"search_alg": create_searcher("random", points_to_evaluate=POINT)},
    "a stop key": lambda: {"stop": {"lss": 0.5}},
    "a time": lambda: {"scheduler": ASHAScheduler(time_attr="epoch"), **LOSS},
    "a metric": lambda: {"metric": "los", "mode": "min"},
    "a metric without a mode": lambda: {"metric": "loss"},
    "a scheduler without a metric": lambda: {"scheduler": ASHAScheduler()},
    "a score": lambda: {"keep_checkpoints_num": 1, "checkpoint_score_attr": "accurcy"},
}

if __name__ == "__main__":
    silent = []
    for what, more in MISTAKES.items():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                tune.run(train, config={"rate": tune.uniform(0, 1)}, num_samples=6, storage_path="results", verbose=0, **more())
            except Exception as error:
                said.append(error)
        if not said:
            silent.append(what)
    assert not silent, silent
