"""fasttune run and resume: what files and options say becomes a run, and can be gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fasttune as tune
import forks
from fasttune.cli.order import Order
from fasttune.folder import COMMAND_FILE

PACKAGE = str(Path(tune.__file__).resolve().parent.parent)
QUIET = ("--verbose", "0", "--executor", "inline")
LOSS = ("--metric", "loss", "--mode", "min")
Printed = Callable[..., tuple[int, str, str]]

SPACE = """
lr = {uniform = [0, 1]}
opt = {choice = ["sgd", {name = "adam", beta = {uniform = [0.8, 0.99]}}]}
epochs = 10
[net]
width = {grid = [1, 2]}
raw = {constant = {choice = 3}}
"""

RUN = """
[run]
trainable = "job.py:train"
metric = "loss"
mode = "min"
num_samples = 2
name = "whole"
executor = "inline"
verbose = 0
[space]
lr = {uniform = {lower = 0, upper = 1}}
[scheduler]
name = "asha"
max_t = 2
grace_period = 2
[search]
name = "tpe"
n_initial_points = 1
"""


def analysis_of(results: Path, name: str) -> tune.ExperimentAnalysis:
    return tune.ExperimentAnalysis(results / name)


def test_a_script_a_space_and_options(here: Path, results_dir: Path, fasttune: Printed) -> None:
    (here / "space.toml").write_text(SPACE)
    code, out, err = fasttune(
        "run", "job.py:train", "--space", "space.toml", "--set", "net/depth=3", "--set", "mode=fast", "--name", "first",
        "--num-samples", 2, "--seed", 7, "--stop", "training_iteration=2", *LOSS, *QUIET,
    )  # fmt: skip
    assert (code, out, err) == (0, "", "")
    trials = analysis_of(results_dir, "first").trials
    assert [trial.config["net"]["width"] for trial in trials] == [1, 2, 1, 2]
    for trial in trials:
        assert 0 <= trial.config.pop("lr") <= 1
        assert trial.config["net"]["raw"] == {"choice": 3}
        assert (trial.config["epochs"], trial.config["net"]["depth"], trial.config["mode"]) == (10, 3, "fast")
        assert trial.last_result["training_iteration"] == 2
    again = fasttune("run", "job.py:train", "--space", "space.toml", "--name", "same", "--num-samples", 2, "--seed", 7, *QUIET)
    assert again == (0, "", "")
    same = [trial.config["lr"] for trial in analysis_of(results_dir, "same").trials]
    assert same == [trial.config["lr"] for trial in analysis_of(results_dir, "first").trials]


def test_a_file_says_all_of_it_and_options_go_before(here: Path, results_dir: Path, fasttune: Printed) -> None:
    (here / "whole.toml").write_text(RUN)
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)  # a script is looked for beside the file that names it
    code, out, _ = fasttune("run", "../whole.toml", "--num-samples", 3, "--json")
    facts = json.loads(out)
    assert (code, facts["trials"], facts["scheduler"], facts["searcher"]) == (0, 3, "AsyncHyperBandScheduler", "TPESearch")
    assert facts["statuses"] == {"TERMINATED": 3}


def test_classes_and_modules_run_too(here: Path, results_dir: Path, fasttune: Printed) -> None:
    assert fasttune("run", "job:Trainer", "--set", "lr={uniform=[0, 1]}", "--name", "class", *LOSS, *QUIET)[0] == 0
    assert analysis_of(results_dir, "class").trials[0].last_result["training_iteration"] == 2


def test_a_script_whose_name_is_taken_runs_in_workers(here: Path, results_dir: Path, fasttune: Printed) -> None:
    """A worker that imports "random" gets another module: what the script defines goes by value."""
    (here / "random.py").write_text((here / "job.py").read_text())
    assert fasttune("run", "random.py:train", "--set", "lr=0.5", "--name", "taken", *LOSS, "--verbose", 0) == (0, "", "")
    assert analysis_of(results_dir, "taken").trials[0].last_result["training_iteration"] == 3


def test_a_failed_trial_is_1(here: Path, fasttune: Printed) -> None:
    code, _, err = fasttune("run", "job.py:fails", "--set", "lr=1", "--name", "bad", *QUIET)
    assert code == 1
    assert "too large" in err


FILES = {
    "space.toml": "lr = {uniform = [0, 1]}", "broken.toml": "lr = 1 2\nx = 3", "few.toml": "lr = {loguniform = [1e-5]}",
    "bounds.toml": "[a]\nlr = {loguniform = [0, 1]}", "typo.toml": "lr = {loguniforn = [1, 2]}",
    "function.toml": "x = {sample_from = 3}", "options.toml": "x = {choice = 3}", "date.toml": "x = 2020-01-01",
    "setting.toml": "[run]\ntrainable = 'job.py:train'\nn_trials = 3", "table.toml": "[run]\ntrainable = 'job:train'\n[spaces]\na = 1",
    "lone.toml": "[run]\nmetric = 'loss'", "twice.toml": "[run]\ntrainable='job:train'\nscheduler='asha'\n[scheduler]\nname='asha'",
    "named.toml": "[run]\ntrainable='job:train'\n[scheduler]\nmax_t=3",
    "argument.toml": "[run]\ntrainable='job:train'\nmetric='loss'\nmode='min'\n[scheduler]\nname='asha'\nmaxt=3",
    "samples.toml": "[run]\ntrainable='job:train'\nnum_samples=0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run job.py:train --space broken.toml", r"broken\.toml is no TOML: .*line 1"),
        ("run job.py:train --space few.toml", r"few\.toml: lr: loguniform takes \[lower, upper\] or .*got \[1e-05\]"),
        ("run job.py:train --space bounds.toml", r"bounds\.toml: a\.lr: LogUniform requires a lower bound greater than 0"),
        ("run job.py:train --space typo.toml", r"typo\.toml: lr: there is no domain 'loguniforn'; did you mean 'loguniform'"),
        ("run job.py:train --space function.toml", r"function\.toml: x: sample_from takes a function"),
        ("run job.py:train --space options.toml", r"options\.toml: x: choice takes a list of options, got 3"),
        ("run job.py:train --space date.toml", r"date\.toml: x: a date is no value"),
        ("run job.py:train --space nothing.toml", "No such file"),
        ("run setting.toml", r"setting\.toml: \[run\]: there is no setting 'n_trials'; did you mean 'num_samples'"),
        ("run table.toml", r"table\.toml: there is no table \[spaces\]"),
        ("run space.toml", r"space\.toml: there is no table \[lr\]"),
        ("run lone.toml", r"lone\.toml: \[run\] needs trainable"),
        ("run twice.toml", r"twice\.toml: scheduler is said twice"),
        ("run job:train --space lone.toml --scheduler asha,max_t=0", "max_t must be"),
        ("run job:train --space setting.toml", "trainable is said twice"),
        ("run named.toml", r"\[scheduler\] needs a name"),
        ("run argument.toml", "maxt"),
        ("run samples.toml", r"num_samples must be at least 1, .*got 0"),
        ("run job.py", r"it has job\.py:train, job\.py:fails, job\.py:Trainer"),
        ("run job.py:trian", "did you mean 'train'"),
        ("run job:NUMBER", "this is a int"),
        ("run nothing.py:train", "there is no script"),
        ("run nothing:train", "there is no module 'nothing'"),
        ("run nothing.inner:train", "there is no module"),
        ("run job:train --set lr", "--set takes KEY=VALUE"),
        ("run job:train --set a=1 --set a/b=2", "nothing lies in that"),
        ("run job:train --stop loss", "--stop takes KEY=VALUE"),
        ("run job:train --scheduler nosuch", "there is no scheduler called 'nosuch'"),
        ("run job:train --scheduler asha", "without a metric"),
        ("run job:train --search nosuch", "--search must be one of"),
        ("run job:train --resources cpu=1000000", "cpu"),
        ("run job:train --resume", "--resume AUTO needs --name NAME"),
        ("resume nothing", "there is no experiment"),
    ],
)
def test_what_means_nothing_is_said_in_one_line(here: Path, results_dir: Path, fasttune: Printed, line: str, said: str) -> None:
    for name, text in FILES.items():
        (here / name).write_text(text)
    code, out, err = fasttune(*line.split())
    assert (code, out) == (1, "")
    assert err.startswith("fasttune: ")
    assert err.count("\n") == 1
    import re

    assert re.search(said, err), err
    assert not results_dir.exists()  # nothing was begun


def test_what_the_users_module_raises_is_shown_whole(here: Path, fasttune: Printed) -> None:
    (here / "broken_job.py").write_text("import json\njson.loads('{')\n")
    code, _, err = fasttune("run", "broken_job.py:train")
    assert code == 1
    assert 'broken_job.py", line 2' in err
    assert err.splitlines()[-1].startswith("fasttune: broken_job.py cannot be imported: JSONDecodeError")


# ---- going on


def test_what_run_began_is_gone_on_with(here: Path, results_dir: Path, fasttune: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "whole.toml").write_text(RUN)
    assert fasttune("run", "whole.toml")[0] == 0
    first = analysis_of(results_dir, "whole").get_all_configs()
    monkeypatch.chdir(results_dir)
    code, out, _ = fasttune("resume", "whole", "--num-samples", 4)
    assert code == 0
    assert out.endswith("fasttune show whole, fasttune ls whole, fasttune best whole\n")
    assert len(analysis_of(results_dir, "whole").trials) == 4
    assert first.items() <= analysis_of(results_dir, "whole").get_all_configs().items()
    assert fasttune("resume", "whole", "--verbose", 0) == (0, "", "")  # it was kept that there are to be four
    assert len(analysis_of(results_dir, "whole").trials) == 4
    assert fasttune("replay", "whole")[0] == 0


def test_the_folder_that_is_named_is_gone_on_with(here: Path, results_dir: Path, fasttune: Printed) -> None:
    """Not the last one of its name, as resume="AUTO" takes it."""
    for _ in range(2):
        assert fasttune("run", "job:train", "--set", "lr=0.5", "--name", "twin", *LOSS, *QUIET)[0] == 0
    assert fasttune("resume", "twin", "--num-samples", 3, *QUIET)[0] == 0
    assert [len(analysis_of(results_dir, name).trials) for name in ("twin", "twin_2")] == [3, 1]


def test_what_a_program_began_needs_the_trainable_alone(here: Path, results_dir: Path, fasttune: Printed) -> None:
    sys.path.insert(0, str(here))
    import job

    from fasttune.schedulers import ASHAScheduler

    tune.run(
        job.train, name="program", config={"lr": tune.uniform(0, 1), "off": {"x": (1, 2)}}, num_samples=2, metric="loss", mode="min",
        scheduler=ASHAScheduler(max_t=3, grace_period=2), search_alg="tpe", stop={"training_iteration": 2},
        resources_per_trial={"cpu": 2}, executor="inline", verbose=0, seed=1, max_failures=1,
    )  # fmt: skip
    code, _, err = fasttune("resume", "program")
    assert code == 1
    assert "say what to run, fasttune resume program module:function" in err
    assert fasttune("resume", "program", "job.py:train", "--num-samples", 3, *QUIET) == (0, "", "")
    trials = analysis_of(results_dir, "program").trials
    assert [trial.last_result["training_iteration"] for trial in trials] == [2, 2, 2]
    assert trials[2].placement_group_factory.required_resources == {"CPU": 2}
    code, _, err = fasttune("resume", "program", "job.py:fails", *QUIET)
    assert code == 1
    assert "trainable: train was, fails is" in err


def test_what_ends_a_programs_run_is_in_its_journal(here: Path, results_dir: Path, fasttune: Printed) -> None:
    sys.path.insert(0, str(here))
    import job

    from fasttune.cli.rebuilt import asked_of, stop_of
    from fasttune.cli.resume import of_the_journal
    from fasttune.stopper import MaximumIterationStopper, RegretStopper, TimeoutStopper, TrialPlateauStopper

    def run(name: str, stop: object, **more: object) -> str:
        analysis = tune.run(
            job.train, name=name, config={"lr": tune.uniform(0, 1)}, num_samples=2, metric="loss", mode="min", stop=stop,
            executor="inline", verbose=0, seed=1, **more,
        )  # fmt: skip
        return str(analysis.experiment_path)

    stop = ["regret", MaximumIterationStopper(2), RegretStopper(tolerance=0.5), {"training_iteration": 9}, TimeoutStopper(99)]
    stop += [TrialPlateauStopper("loss", num_results=8)]
    folder = run("ends", stop, time_budget_s=50, trial_timeout_s=9, checkpoint_config=tune.CheckpointConfig(num_to_keep=3))
    again = stop_of(asked_of(folder))
    kinds = [dict, RegretStopper, MaximumIterationStopper, RegretStopper, TimeoutStopper, TrialPlateauStopper]
    assert [type(one) for one in again] == kinds
    assert (again[0], again[2]._max_iter, again[3]._tolerance, again[4].remaining()) == ({"training_iteration": 9.0}, 2, 0.5, 99)
    settings = of_the_journal(folder, "job.py:train")[0].settings
    assert (settings["time_budget_s"], settings["trial_timeout_s"]) == (50, 9)
    assert settings["checkpoint_config"].num_to_keep == 3
    assert fasttune("resume", "ends", "job.py:train", "--num-samples", 4, *QUIET) == (0, "", "")
    assert [trial.last_result["training_iteration"] for trial in analysis_of(results_dir, "ends").trials] == [2, 2, 2, 2]

    run("rule", lambda trial_id, result: result["training_iteration"] == 2)
    code, _, err = fasttune("resume", "rule", "job.py:train", "--num-samples", 3, *QUIET)
    assert code == 1
    assert "its stopper, FunctionStopper, was made with" in err
    assert fasttune("resume", "rule", "job.py:train", "--num-samples", 3, "--stop", "training_iteration=1", *QUIET) == (0, "", "")
    assert analysis_of(results_dir, "rule").trials[2].last_result["training_iteration"] == 1


def test_what_a_tuner_began_goes_on_with_its_settings(here: Path, results_dir: Path, fasttune: Printed) -> None:
    sys.path.insert(0, str(here))
    import job

    def rule(trial_id: str, result: dict[str, object]) -> bool:
        return result["training_iteration"] == 2

    tune.Tuner(
        job.train, param_space={"lr": tune.uniform(0, 1)}, tune_config=tune.TuneConfig(num_samples=2, metric="loss", mode="min"),
        run_config=tune.RunConfig(name="tuner", stop=rule, executor="inline", verbose=0),
    ).fit()  # fmt: skip
    assert fasttune("resume", "tuner", "job:train", "--num-samples", 3, *QUIET) == (0, "", "")
    trials = analysis_of(results_dir, "tuner").trials
    assert [trial.last_result["training_iteration"] for trial in trials] == [2, 2, 2]  # the function is kept, too
    for options, said in ((["--resources", "cpu=1"], "tune.with_resources"), (["--num-samples", "0"], "--num-samples must be")):
        code, _, err = fasttune("resume", "tuner", "job:train", *options)
        assert code == 1
        assert said in err


def test_failed_trials_run_again_when_that_is_said(here: Path, results_dir: Path, fasttune: Printed) -> None:
    assert fasttune("run", "job.py:fails", "--set", "lr=1", "--name", "bad", *QUIET)[0] == 1
    script = (here / "job.py").read_text()
    (here / "job.py").write_text(script.replace("def fails(config):\n", "def fails(config):\n    return 1.0\n"))
    del sys.modules["job"]
    assert fasttune("resume", "bad", *QUIET)[0] == 1
    assert fasttune("resume", "bad", "--errored", "restart", *QUIET)[0] == 0
    assert analysis_of(results_dir, "bad").trials[0].status == "TERMINATED"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"target": 3}', "[" * 9999, "\xff"])
def test_a_damaged_command_is_said(here: Path, results_dir: Path, fasttune: Printed, text: str) -> None:
    assert fasttune("run", "job:train", "--set", "lr=0.5", "--name", "one", *LOSS, *QUIET)[0] == 0
    (results_dir / "one" / COMMAND_FILE).write_text(text, encoding="latin-1")
    code, out, err = fasttune("resume", "one")
    assert (code, out) == (1, "")
    assert "command.json cannot be read" in err


def test_a_strangers_command_is_not_run(here: Path, results_dir: Path, fasttune: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fasttune("run", "job:train", "--set", "lr=0.5", "--name", "one", *LOSS, *QUIET)[0] == 0
    folder = results_dir / "one"
    (folder / COMMAND_FILE).unlink()
    (folder / COMMAND_FILE).symlink_to(here / "job.py")
    code, _, err = fasttune("resume", "one")
    assert code == 1
    assert "is a symbolic link" in err
    (folder / COMMAND_FILE).unlink()
    Order("job:train", str(here)).keep(str(folder))
    owner = os.stat(folder).st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 4711)
    if owner == 0:
        os.chown(folder, 1, -1)
    code, _, err = fasttune("resume", "one")
    assert code == 1
    assert "belongs to" in err


def test_ctrl_c_is_130_and_what_is_there_can_be_gone_on_with(here: Path, results_dir: Path) -> None:
    (here / "slow.py").write_text(
        "import os, time\nimport fasttune as tune\n\n\ndef train(config):\n    print('begun', flush=True)\n"
        "    for step in range(100000):\n        tune.report(loss=1.0)\n        time.sleep(0.01)\n"
    )
    run = forks.Popen(
        [sys.executable, "-m", "fasttune", "run", "slow.py:train", "--set", "lr=1", "--name", "slow", "--executor", "inline", *LOSS],
        env={**os.environ, "PYTHONPATH": PACKAGE}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    while "begun" not in run.stdout.readline():
        pass
    run.send_signal(signal.SIGINT)
    out, err = run.communicate()
    assert run.returncode == 130
    assert "interrupted; to go on: fasttune resume slow" in out
    assert "Traceback" not in err
    assert Order.kept_in(str(results_dir / "slow")) is not None


def test_the_longest_that_a_trial_trains(here: Path, results_dir: Path, fasttune: Printed) -> None:
    """An option, a key of [run], and kept for a resume."""
    (here / "endless.py").write_text(
        "from fasttune import report\n\n"
        "def train(config):\n    for epoch in range(1, 1000):\n        report(loss=config['x'] + 1 / epoch)\n"
    )
    line = ("run", "endless.py:train", "--set", "x={uniform=[0, 1]}", *LOSS, "--num-samples", 8, "--max-t", 9, *QUIET)
    line = (*line, "--name", "short")
    assert fasttune(*line)[0] == 0
    assert fasttune("resume", "short", "--num-samples", 16, *QUIET) == (0, "", "")
    analysis = analysis_of(results_dir, "short")
    assert len(analysis.trials) == 16
    assert max(trial.last_result["training_iteration"] for trial in analysis.trials) == 9
    assert analysis._source.meta["asked"]["scheduler"]["kind"] == "AutoScheduler"
    code, _, err = fasttune(*line, "--scheduler", "pbt,hyperparam_mutations={x=[0,1]}")
    assert code == 1
    assert "--max-t 9 was given to the run, whose scheduler is already made" in err
    code, _, err = fasttune(*line, "--scheduler", "fifo")
    assert "--stop training_iteration=9" in err
    (here / "short.toml").write_text(
        '[run]\ntrainable = "endless.py:train"\nmetric = "loss"\nmode = "min"\nnum_samples = 4\nmax_t = 3\n'
        '[space]\nx = {uniform = [0, 1]}\n'
    )
    assert fasttune("run", "short.toml", "--name", "file", *QUIET)[0] == 0
    assert max(trial.last_result["training_iteration"] for trial in analysis_of(results_dir, "file").trials) == 3
