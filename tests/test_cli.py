import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ecomp_deap
from ecomp_deap import _version
from ecomp_deap.cli import main, parse
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.options import OPTIONS

ROOT = Path(ecomp_deap.__file__).parents[1]
SLOW_TO_IMPORT = {"torch", "torchvision", "deap", "matplotlib", "numpy", "rich"}

# A word for every option, other than its default, and what it means.
WORDS = {
    "preset": ("report", "report"),
    "genome": ("weights", "weights"),
    "population": ("20", 20),
    "generations": ("7", 7),
    "epochs": ("2", 2),
    "time_budget": ("60", 60.0),
    "stall_generations": ("5", 5),
    "target_accuracy": ("0.9", 0.9),
    "target_params": ("1000", 1000),
    "crossover_rate": ("0.5", 0.5),
    "mutation_rate": ("0.25", 0.25),
    "recombination_layers": ("layer_1_linear,output", ("layer_1_linear", "output")),
    "seed": ("3", 3),
    "selection": ("spea2", "spea2"),
    "objectives": ("accuracy,mac_count", ("accuracy", "mac_count")),
    "loss_weights": ("1,0,0.5", (1.0, 0.0, 0.5)),
    "probe_layers": ("layer_1_act,layer_2_act", ("layer_1_act", "layer_2_act")),
    "perplexity": ("5", 5.0),
    "kernel": ("student", "student"),
    "similarity": ("cka", "cka"),
    "engine": ("loop", "loop"),
    "evaluation": ("fixed", "fixed"),
    "batch_size": ("50", 50),
    "train_steps": ("4", 4),
    "train_loss": ("task=1,distillation=0.5", {"task": 1.0, "distillation": 0.5}),
    "learning_rate": ("1e-2", 0.01),
    "optimizer": ("sgd", "sgd"),
    "weight_decay": ("1e-4", 1e-4),
    "schedule": ("cosine", "cosine"),
    "train_batch_size": ("64", 64),
    "temperature": ("4", 4.0),
    "mixup": ("0.2", 0.2),
    "averaging": ("0.5", 0.5),
    "finalise_loss": ("distillation=1", {"distillation": 1.0}),
    "finalise_learning_rate": ("8e-3", 8e-3),
    "finalise_optimizer": ("adamw", "adamw"),
    "finalise_weight_decay": ("1e-2", 0.01),
    "finalise_schedule": ("linear", "linear"),
    "finalise_batch_size": ("64", 64),
    "finalise_temperature": ("1", 1.0),
    "finalise_mixup": ("0.1", 0.1),
    "finalise_averaging": ("0.2", 0.2),
    "finalise_size_power": ("0.5", 0.5),
    "finalise_count": ("2", 2),
    "finalise_epochs": ("1", 1),
    "finalise_trials": ("30", 30),
    "finalise_sizes": ("500,900", (500, 900)),
    "max_params": ("900", 900),
    "max_macs": ("800", 800),
    "max_size_bytes": ("4000", 4000),
    "max_latency_ms": ("0.5", 0.5),
    "mutation": ("biased", "biased"),
    "learnt": ("mean", "mean"),
    "importance": ("taylor", "taylor"),
    "highest_rate": ("0.95", 0.95),
    "protect": ("output", ("output",)),
    "min_units": ("4", 4),
    "round_to": ("8", 8),
    "recalibration_samples": ("64", 64),
    "threads": ("3", 3),
    "workers": ("2", 2),
    "dask": ("tcp://127.0.0.1:8786", "tcp://127.0.0.1:8786"),
    "ray": ("local", "local"),
    "gpus_per_worker": ("0.25", 0.25),
    "block_timeout": ("60", 60.0),
    "data_dir": ("data", Path("data")),
    "parent": ("parent.pt", Path("parent.pt")),
    "factory": ("models.py:LeNet5", "models.py:LeNet5"),
    "parent_epochs": ("3", 3),
    "out": ("out", Path("out")),
    "tensorboard": ("tb", Path("tb")),
    "mlflow": ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
}
FLAGS = ("prune_inputs", "images", "balanced", "inherit", "steady_state", "download", "quiet")
COMPANIONS = {  # what an option of the command line needs to go with it
    "loss_weights": ["--selection", "roulette"],
    "recombination_layers": ["--genome", "weights"],
    "learnt": ["--inherit"],
    "gpus_per_worker": ["--dask", "local"],
    "block_timeout": ["--workers", "2"],
    "target_accuracy": ["--target-params", "1000"],
    "target_params": ["--target-accuracy", "0.9"],
}


def in_new_process(*words):
    """Run the command; return its exit code, output, errors and the modules it imported."""
    script = (
        "import json, sys\n"
        "from ecomp_deap.cli import main\n"
        "try:\n"
        "    code = main(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        "print('\\n' + json.dumps([code, sorted(sys.modules)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    output, _, last = done.stdout.rstrip().rpartition("\n")
    code, modules = json.loads(last)
    return code, output, done.stderr, set(modules)


def test_command_line_is_a_layer():
    config = parse(["run", "3", "first", "--population", "20", "--quiet"])
    assert config == RunConfig(n_runs=3, name="first", population=20, quiet=True)


def test_every_option_is_covered_below():
    assert {*WORDS, *FLAGS, "n_runs", "name"} == set(OPTIONS)


@pytest.mark.parametrize("name", WORDS)
def test_option_is_read(name):
    word, value = WORDS[name]
    flag = "--" + name.replace("_", "-")
    config = parse(["run", "1", "a", *COMPANIONS.get(name, []), flag, word])
    assert getattr(config, name) == value
    assert getattr(RunConfig(), name) != value


@pytest.mark.parametrize("name", FLAGS)
def test_flag_is_read_and_can_be_taken_back(name, tmp_path):
    flag = name.replace("_", "-")
    assert getattr(parse(["run", "1", "a", f"--{flag}"]), name) is True
    file = tmp_path / "run.toml"
    file.write_text(f"{name} = true\n")
    words = ["run", "1", "a", "--config", str(file)]
    assert getattr(parse(words), name) is True
    assert getattr(parse([*words, f"--no-{flag}"]), name) is False


@pytest.mark.parametrize(
    "words",
    [
        ["1", "first", "--seed", "3"],
        ["1", "--seed", "3", "first"],
        ["--seed", "3", "1", "first"],
        ["--seed=3", "1", "--no-quiet", "first"],
    ],
)
def test_options_may_stand_anywhere(words):
    assert parse(["run", *words]) == RunConfig(n_runs=1, name="first", seed=3)


def test_command_line_goes_before_file_before_preset(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("preset = 'report'\nn-runs = 2\nname = 'a'\npopulation = 30\nseed = 1\n")
    config = parse(["run", "--config", str(file), "--seed", "5", "--generations", "4"])
    assert (config.n_runs, config.name) == (2, "a")
    assert (config.seed, config.population, config.batch_size) == (5, 30, 100)
    assert (config.generations, config.epochs, config.selection) == (4, None, "roulette")
    assert parse(["run", "3", "b", "--config", str(file)]).name == "b"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: COMMAND"),
        (["go"], "unknown command 'go'; known are baselines, compare, completion, export, "),
        (["shwo", "results/first_1"], "unknown command 'shwo'; did you mean 'show'"),
        (["run"], "N_RUNS is missing: ecomp-deap run N_RUNS NAME"),
        (["run", "3"], "NAME is missing: ecomp-deap run N_RUNS NAME"),
        (["run", "first"], "N_RUNS: .* got 'first'; such as: ecomp-deap run 1 first$"),
        (["run", "3x"], "N_RUNS: .* got '3x'; such as: ecomp-deap run 1 first$"),
        (["run", "first", "1"], "N_RUNS: expected an integer of at least 1, got 'first'"),
        (["run", "0", "a"], "N_RUNS: expected an integer of at least 1, got 0"),
        (["run", "1", ".a"], "NAME: expected up to 200 letters"),
        (["run", "1", "a", "b", "c"], "no more than N_RUNS and NAME, got also 'b c'"),
        (["run", "1", "a", "--popluation", "5"], "'--popluation'; did you mean '--population'"),
        (["run", "1", "a", "--popluation=5"], "'--popluation'; did you mean '--population'"),
        (["run", "1", "a", "--confg", "f"], "'--confg'; did you mean '--config'"),
        (["run", "1", "a", "--pop", "5"], "unknown option '--pop'; did you mean '--population'"),
        (["run", "1", "a", "--population"], "--population: expected one argument"),
        (["run", "1", "a", "--population", "3"], "--population: expected .* at least 4, got 3"),
        (["run", "1", "a", "--population", "x"], "--population: expected .*, got 'x'"),
        (["run", "1", "a", "--loss-weights", "1,2"], "--loss-weights: expected three finite"),
        (
            ["run", "1", "a", "--loss-weights", "1,2,1"],
            "loss_weights: .*--selection roulette or tournament",
        ),
        (["run", "1", "a", "--epochs", "1", "--generations", "2"], "got both"),
        (["run", "1", "a", "--config", ""], "--config: expected a path, got ''"),
        (["run", "1", "a", "--config="], "--config: expected a path, got ''"),
        # argparse makes an empty list of these.
        (["run", "1", "a", "--population=--"], "--population: expected an integer .*, got '--'"),
        (["run", "1", "a", "--objectives=--"], "--objectives: expected .*, got \\['--'\\]"),
        (["run", "1", "a", "--loss-weights=--"], "--loss-weights: expected .*, got '--'"),
        (["run", "1", "a", "--factory=--"], "--factory: expected MODULE:NAME .*, got '--'"),
    ],
)
def test_wrong_command_line_is_refused(words, message, capsys):
    with pytest.raises(ArgumentError, match=message):
        parse(words)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ecomp-deap: error: ")
    assert captured.err.count("\n") == 1


def test_wrong_file_is_refused(tmp_path, capsys):
    words = ["run", "1", "a", "--config", str(tmp_path / "run.toml")]
    with pytest.raises(DataError, match=r"run\.toml: cannot read the configuration"):
        parse(words)
    with pytest.raises(DataError, match="--: cannot read the configuration"):
        parse(["run", "1", "a", "--config=--"])
    (tmp_path / "run.toml").write_text("sead = 1\n")
    assert main(words) == 2
    assert "run.toml: unknown option 'sead'; did you mean 'seed'?" in capsys.readouterr().err


def test_interrupt_has_its_own_exit_code(capsys):
    class Interrupted(list):
        def __iter__(self):
            raise KeyboardInterrupt

    assert main(Interrupted()) == 130
    assert capsys.readouterr().err == "ecomp-deap: interrupted\n"


def test_help_shows_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, option in OPTIONS.items():
        if name not in ("n_runs", "name"):
            assert f"{option.flag} " in text or f"{option.flag}," in text
            default = getattr(RunConfig, name)
            words = {True: "yes", False: "no"} if isinstance(default, bool) else {}
            shown = option.unset or words.get(default, default)
            assert f"(default: {shown})" in text
    for group in ("search", "fitness", "evaluation", "data and parent", "output"):
        assert f" {group}: --" in text


def test_help_begins_with_what_is_used_most(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    paragraphs = capsys.readouterr().out.split("\n\n")
    flags = re.findall(r"--[\w-]+", paragraphs[2])
    assert paragraphs[2].startswith("Most used: --population, ")
    assert flags == list(dict.fromkeys(flags))
    assert set(flags) <= {option.flag for option in OPTIONS.values()}


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"ecomp-deap {_version.__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "output", "error"),
    [
        (["--help"], 0, "usage: ecomp-deap", ""),
        (["run", "--help"], 0, "usage: ecomp-deap run N_RUNS NAME", ""),
        (["--version"], 0, "ecomp-deap ", ""),
        (["run", "1", "a", "--popluation", "5"], 2, "", "ecomp-deap: error: "),
        (["run", "1", "a", "--seed", "-1"], 2, "", "ecomp-deap: error: "),
        (["run", "1", "a", "--config", "no.toml"], 2, "", "ecomp-deap: error: "),
    ],
)
def test_help_and_errors_import_nothing_slow(words, code, output, error):
    got_code, got_output, got_error, modules = in_new_process(*words)
    assert not modules & SLOW_TO_IMPORT
    assert got_code == code
    assert got_output.startswith(output)
    assert got_error.startswith(error)
    assert bool(got_error) == bool(error)


def test_help_comes_at_once_by_module_name():
    fastest = float("inf")
    for _ in range(5):  # the machine may be busy for a moment
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "ecomp_deap", "--help"], cwd=ROOT, capture_output=True, text=True
        )
        fastest = min(fastest, time.perf_counter() - start)
        assert done.returncode == 0
        assert done.stdout.startswith("usage: ecomp-deap ")
        if fastest < 0.5:
            break
    assert fastest < 0.5


def test_exit_code_by_module_name():
    done = subprocess.run(
        [sys.executable, "-m", "ecomp_deap", "run"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ecomp-deap: error: N_RUNS is missing")
