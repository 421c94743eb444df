import csv
import json
import shutil

import pytest

from ecomp_deap.cli import main
from ecomp_deap.runs.directory import read_front
from ecomp_deap.search.baseline_run import FinishedRun
from ecomp_deap.search.baselines import BASELINES
from tests.test_cli import SLOW_TO_IMPORT, in_new_process

QUICK = ["--children", "2", "--max-epochs", "1", "--quiet"]


@pytest.fixture(scope="module")
def finished(small_fashion, small_parent_file, tmp_path_factory):
    """The folder of a run."""
    out = tmp_path_factory.mktemp("runs")
    given = ["--data-dir", small_fashion, "--parent", small_parent_file, "--out", out]
    small = ["--population", "8", "--generations", "2", "--threads", "1", "--quiet"]
    trained = ["--train-steps", "1", "--finalise-count", "2", "--finalise-epochs", "4"]
    units = ["--prune-inputs", "--importance", "variance"]
    words = ["run", "1", "first", *given, *small, *trained, *units]
    assert main([str(word) for word in words]) == 0
    return out / "first_1"


@pytest.fixture
def run(finished, tmp_path):
    """A run of one's own."""
    return shutil.copytree(finished, tmp_path / "first_1")


def rows_of(folder):
    with open(folder / "baselines.csv", newline="") as file:
        return list(csv.DictReader(file))


def error_of(words, capsys):
    """Run the command; return its one line of errors."""
    assert main(["baselines", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("ecomp-deap: error: ")
    return captured.err.splitlines()[-1]


def test_every_method_gets_what_the_run_took(run, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert main(["baselines", str(run), *QUICK]) == 0
    assert capsys.readouterr().out == ""
    rows = rows_of(run)
    assert list(dict.fromkeys(row["method"] for row in rows)) == ["search", *BASELINES]
    summary = json.loads((run / "summary.json").read_text())
    most = sum(summary["training_samples"].values())
    assert most == summary["training_samples"]["search"] + 2 * 4 * 833
    for row in rows:
        assert 0 < int(row["samples"]) <= most
        assert int(row["evaluations"]) <= summary["evaluations"]
        assert 0 <= float(row["test_accuracy"]) <= 1
    ours = {row["id"]: row for row in rows if row["method"] == "search"}
    front = {row["id"]: row for row in read_front(run / "front.csv")}
    assert {*ours} <= {*front}
    for name, row in ours.items():
        assert float(row["test_accuracy"]) == front[name]["test_accuracy"]
    text = (run / "baselines.md").read_text()
    parent = summary["parent"]["param_count"]
    assert f"test accuracy under {int(0.2 * parent):,d} |" in text
    assert "- test hypervolume: **" in text
    assert f"Each method had its {most:,d} training samples" in text
    assert (run / "plots" / "baselines.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.name in before}
    assert after == before


def test_methods_and_limits_are_chosen_and_the_table_is_shown(run, capsys):
    words = ["--methods", "random_masks,uniform_l1", "--limits", "9000,5000", *QUICK[:-1]]
    assert main(["baselines", str(run), *words]) == 0
    captured = capsys.readouterr()
    assert captured.out == (run / "baselines.md").read_text()
    assert "test accuracy under 9,000 | test accuracy under 5,000 |\n" in captured.out
    assert "baseline random_masks" in captured.err
    assert {row["method"] for row in rows_of(run)} == {"search", "random_masks", "uniform_l1"}
    once = (run / "baselines.csv").read_bytes()
    assert main(["baselines", str(run), *words, "--quiet", "--json"]) == 0
    assert (run / "baselines.csv").read_bytes() == once
    found = json.loads(capsys.readouterr().out)
    assert found == {"run": str(run), "children": read_front(run / "baselines.csv")}


@pytest.mark.parametrize("name", ["baselines.csv", "baselines.md", "plots"])
def test_what_is_in_the_place_of_its_files_is_named_at_once(run, name, capsys):
    if name == "plots":
        shutil.rmtree(run / name)
    else:
        (run / name).mkdir()
    (run / name).exists() or (run / name).touch()
    assert main(["baselines", str(run)]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"ecomp-deap: error: {run / name}: expected a ")
    assert errors.count("\n") == 1


def test_a_method_without_a_child_is_in_the_table(run, monkeypatch, capsys):
    empty = {"uniform_l1": []}
    monkeypatch.setattr(FinishedRun, "baseline_rows", lambda *_, **__: empty)
    assert main(["baselines", str(run), "--methods", "uniform_l1"]) == 0
    assert "| uniform l1 |" in capsys.readouterr().out.replace("*", "").lower()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: RUN (try ecomp-deap baselines --help)"),
        (["a", "b"], "expected no more than RUN, got also 'b'"),
        (["a", "--method", "x"], "unknown option '--method'; did you mean '--methods'?"),
        (["a", "--methods", "x,x"], "--methods: expected a list of at least 1 distinct name"),
        (["a", "--limits", "1,x"], "--limits: expected an integer of at least 1, got 'x'"),
        (["a", "--limits=--"], "--limits: expected an integer of at least 1, got '--'"),
        (["a", "--limits", "0"], "--limits: expected an integer of at least 1, got 0"),
        (["a", "--children", "0"], "--children: expected an integer of at least 1, got 0"),
        (["a", "--max-epochs", "-1"], "--max-epochs: expected an integer of at least 0, got -1"),
        (["none"], "expected the folder of a finished run"),
    ],
)
def test_wrong_command_lines_are_refused(words, message, capsys):
    assert message in error_of(words, capsys)


def test_damaged_runs_are_named(run, capsys):
    assert "names: expected names among" in error_of([run, "--methods", "evolution"], capsys)
    summary = json.loads((run / "summary.json").read_text())
    del summary["training_samples"]
    (run / "summary.json").write_text(json.dumps(summary))
    error = error_of([run], capsys)
    assert "expected the files of a finished run, but KeyError('training_samples')" in error
    shutil.copy(run / "front.csv", run / "summary.json")
    assert "summary.json: expected a run's summary" in error_of([run], capsys)


@pytest.mark.parametrize("content", ["", "[]", '{"populatoin": 3}', '{"population": 1}'])
def test_a_damaged_configuration_is_named(run, capsys, content):
    (run / "config.json").write_text(content)
    assert "config.json: expected a run's configuration, but" in error_of([run], capsys)
    (run / "config.json").unlink()
    assert "config.json: cannot be read" in error_of([run], capsys)


def test_help_names_every_method(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["baselines", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: ecomp-deap baselines RUN [options]")
    for word in (
        *BASELINES,
        "--methods",
        "--limits",
        "--children N",
        "--max-epochs N",
        "20, 10, 5",
    ):
        assert word in text


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), ([], 2), (["a", "--limits", "x"], 2)])
def test_help_and_errors_import_nothing_slow(words, code):
    got, _, _, modules = in_new_process("baselines", *words)
    assert got == code
    assert not modules & SLOW_TO_IMPORT
