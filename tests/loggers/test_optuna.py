import sys
import warnings

import pytest

import ecomp_deap as ed
from ecomp_deap.cli import main
from ecomp_deap.errors import ArgumentError, DataError
from tests.report.made_runs import front_of, make_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import optuna
    from optuna.visualization import matplotlib as plots

SMALL = {"population": 8, "generations": 2, "finalise_count": 0}
PARETO = {"objectives": ["accuracy", "param_count"]}
WEIGHTED = {"selection": "roulette", "loss_weights": [1, 2, 1]}


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """Return a function that gives the address of a new database."""

    def make():
        return f"sqlite:///{tmp_path_factory.mktemp('storage') / 'study.db'}"

    return make


def test_children_of_a_run_are_trials(tmp_path, storage):
    front = front_of(4)
    run, place = make_run(tmp_path, front=front, config=PARETO), storage()
    made = ed.export_optuna(run, place)
    study = optuna.load_study(study_name="first_1", storage=place)
    assert study.directions == made.directions
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["accuracy", "param_count"]
    assert study.user_attrs["parent of first_1"]["widths"] == "40-50"
    for trial, row in zip(study.trials, front, strict=True):
        assert trial.state.name == "COMPLETE"
        assert trial.values == [row["validation_accuracy"], row["param_count"]]
        widths = [int(width) for width in row["widths"].split("-")]
        assert trial.params == dict(zip(("one", "two"), widths, strict=True))
        kept = {name: value for name, value in row.items() if value is not None}
        picked = {"003": {"picks": "knee"}, "004": {"picks": "best"}}.get(row["id"], {})
        assert trial.user_attrs == {**kept, "run": "first_1", **picked}
    high = study.trials[0].distributions
    assert (high["one"].low, high["one"].high, high["two"].high) == (1, 40, 50)


def test_plots_of_optuna_take_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    study = ed.export_optuna(make_run(tmp_path, front=front_of(9), config=PARETO))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are experimental
        axes = plots.plot_pareto_front(study)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("accuracy", "param_count")
        for index, name in enumerate(study.metric_names):
            chosen = {"target": lambda trial, i=index: trial.values[i], "target_name": name}
            plots.plot_parallel_coordinate(study, **chosen)
            plots.plot_contour(study, **chosen)
            plots.plot_rank(study, **chosen)
            slices = plots.plot_slice(study, **chosen)
            assert [axes.get_xlabel() for axes in slices] == ["one", "two"]
            bars = plots.plot_param_importances(study, **chosen)
            texts = [label.get_text() for label in bars.get_yticklabels()]
            assert sorted(texts) == ["one", "two"]


def test_what_a_search_in_a_script_returned_is_taken_as_well(tiny_task):
    result = ed.compress(tiny_task(), **SMALL)
    study = ed.export_optuna(result)
    assert study.study_name == "search"
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    for trial, child in zip(study.trials, result.front, strict=True):
        found = child.validation
        assert trial.values == [found.metric, found.similarity_loss, found.param_count]
        assert tuple(trial.params.values()) == child.widths
        assert trial.user_attrs["id"] == child.id
    picked = [t.user_attrs["id"] for t in study.trials if "best" in t.user_attrs.get("picks", "")]
    assert picked == [result.best.id]
    groups = [group.name for group in result.toolbox.evaluator.structure.groups]
    assert list(study.trials[0].params) == groups


def test_a_weighted_sum_is_one_objective(tmp_path, tiny_task):
    front = front_of(3)
    study = ed.export_optuna(make_run(tmp_path, front=front, config=WEIGHTED))
    assert [d.name for d in study.directions] == ["MAXIMIZE"]
    assert [trial.value for trial in study.trials] == [
        row["validation_accuracy"] - 2 * row["similarity_loss"] + (1 - row["relative_width"])
        for row in front
    ]
    task = tiny_task(max_params=400)
    result = ed.compress(task, **SMALL, selection="roulette", loss_weights=(1, 2, 1))
    (value,) = ed.export_optuna(result).trials[0].values
    found = result.front[0].validation
    assert value == found.metric - 2 * found.similarity_loss + (1 - found.relative_width)


def test_several_runs_go_into_one_study_if_they_go_together(tmp_path):
    runs = [make_run(tmp_path, front=front_of(n), config=PARETO) for n in (3, 4)]
    study = ed.export_optuna(runs, study="both")
    assert [trial.user_attrs["run"] for trial in study.trials] == ["first_1"] * 3 + ["first_2"] * 4
    other = make_run(tmp_path, config={"objectives": ["accuracy", "mac_count"]})
    with pytest.raises(ArgumentError, match="first_3: expected the same objectives for all, as of"):
        ed.export_optuna([*runs, other])
    other = make_run(tmp_path, config=PARETO, groups=("one", "three"))
    with pytest.raises(ArgumentError, match="first_4: expected the same groups for all, as of "):
        ed.export_optuna([*runs, other])


def test_groups_without_a_manifest_have_numbers(tmp_path):
    run = make_run(tmp_path, config=PARETO)
    for path in (run / "children").iterdir():
        path.unlink()
    assert list(ed.export_optuna(run).trials[0].params) == ["group 1", "group 2"]


def test_a_study_is_not_added_to(tmp_path, storage):
    run, place = make_run(tmp_path, config=PARETO), storage()
    ed.export_optuna(run, place)
    with pytest.raises(DataError, match=r"study\.db has a study 'first_1' already"):
        ed.export_optuna(run, place)
    ed.export_optuna(run, place, study="again")
    assert len(optuna.load_study(study_name="first_1", storage=place).trials) == 3


@pytest.mark.parametrize("place", ["nonsense", "sqlite:////nowhere/at/all.db", 3])
def test_a_storage_that_cannot_be_used_is_named(tmp_path, place):
    with pytest.raises(DataError, match=f"storage: Optuna cannot use {place!r}: "):
        ed.export_optuna(make_run(tmp_path, config=PARETO), place)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("widths", "1-x", "expected the widths of 2 groups, but '001' has '1-x'"),
        ("widths", "0-3", "expected the widths of 2 groups, but '001' has '0-3'"),
        ("widths", "7", "expected the widths of 1 groups, but 'parent' has '40-50'"),
        ("validation_accuracy", None, "expected figures of '001' for .'accuracy', 'param_count'."),
    ],
)
def test_damaged_rows_are_named(tmp_path, column, value, message):
    front = front_of(3)
    front[0][column] = value
    with pytest.raises(DataError, match=f"^first_1: {message}"):
        ed.export_optuna(make_run(tmp_path, front=front, config=PARETO))


def test_wrong_arguments_are_named(tmp_path, monkeypatch):
    run = make_run(tmp_path, config=PARETO)
    for runs in (3, [], None):
        with pytest.raises(ArgumentError, match=r"^runs: expected a folder or a Result"):
            ed.export_optuna(runs)
    with pytest.raises(ArgumentError, match=r"^runs: expected a path"):
        ed.export_optuna([3])
    with pytest.raises(ArgumentError, match=r"^study: expected a name, got 3"):
        ed.export_optuna(run, study=3)
    with pytest.raises(DataError, match=r"none: expected the folder of a finished run"):
        ed.export_optuna(tmp_path / "none")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ArgumentError, match=r"\(pip install 'ecomp-deap\[optuna\]'\)"):
        ed.export_optuna(run)


def test_optuna_is_left_as_talkative_as_it_was(tmp_path, capfd):
    level = optuna.logging.get_verbosity()
    ed.export_optuna(make_run(tmp_path, config=PARETO))
    assert optuna.logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")


def test_the_command_makes_a_study_of_each_run_or_one_of_all(tmp_path, storage, capsys):
    runs = [str(make_run(tmp_path, front=front_of(n), config=PARETO)) for n in (3, 4)]
    place = storage()
    assert main(["to-optuna", *runs, "--storage", place]) == 0
    assert capsys.readouterr().out == (
        f"{place}: study 'first_1' has 3 trials\n{place}: study 'first_2' has 4 trials\n"
    )
    assert main(["to-optuna", *runs, "--storage", place, "--study", "both"]) == 0
    assert capsys.readouterr().out == f"{place}: study 'both' has 7 trials\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "the following arguments are required: --storage"),
        (["--storage", "x"], "the following arguments are required: RUN"),
        (["run", "--storage", "x", "--stdy", "y"], "unknown option '--stdy'; did you mean"),
        (["run", "--storage", "x"], "run: expected the folder of a finished run"),
        (["", "--storage", "x"], "RUN: expected a path, got ''"),
        (["run", "--storage", ""], "--storage: expected a URL"),
        (["run", "--storage", "x", "--study", ""], "study: expected a name, got ''"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["to-optuna", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"ecomp-deap: error: {message}")
    assert captured.err.count("\n") == 1
