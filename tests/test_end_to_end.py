"""The whole command, from its options to what it leaves behind."""

import csv
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ecomp_deap import load_child, load_fashion_mnist, read_logbook
from ecomp_deap.cli import main
from ecomp_deap.data.fashion_mnist import BUNDLED_FOLDER
from ecomp_deap.defaults import SIMILARITIES
from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.directory import read_front

FRONT = [
    "id",
    "validation_accuracy",
    "test_accuracy",
    "similarity_loss",
    "relative_width",
    "param_count",
    "mac_count",
    "size_bytes",
    "widths",
]
BEFORE = ["validation_accuracy_before", "test_accuracy_before"]
FINALISED_FRONT = [*FRONT[:3], *BEFORE, *FRONT[3:]]
FILES = {
    *(
        "config.json",
        "front.csv",
        "logbook.csv",
        "logbook.json",
        "summary.json",
        "timings.csv",
        "embeddings.json",
        "lineage.json",
    ),
    *("parent.json", "parent.safetensors", "children", "plots"),
}
SMALL = ["--population", "8", "--generations", "2", "--threads", "1", "--quiet"]
LAYERS = ("layer_1_linear", "layer_2_linear", "output")


@pytest.fixture(scope="session")
def run(small_fashion, small_parent_file):
    """Return a function that runs the command on the small images and returns its folder."""

    def run_command(out: Path, *words: str, n_runs: int = 1, name: str = "first") -> Path:
        given = ["--out", str(out), "--data-dir", str(small_fashion)]
        if "--parent-epochs" not in words:
            given += ["--parent", str(small_parent_file)]
        assert main(["run", str(n_runs), name, *given, *SMALL, *words]) == 0
        return out / f"{name}_1"

    return run_command


@pytest.fixture(scope="session")
def finished(run, tmp_path_factory):
    """A run whose front was finalised in part."""
    words = ["--finalise-count", "2", "--finalise-epochs", "1"]
    return run(tmp_path_factory.mktemp("finished"), *words)


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def columns_of(path):
    with open(path, newline="") as file:
        return next(csv.reader(file))


def test_every_file_is_there(finished):
    assert {path.name for path in finished.iterdir()} == FILES
    ids = [row["id"] for row in read_front(finished / "front.csv")]
    names = {f"{i}{suffix}" for i, suffix in product(ids, (".json", ".safetensors"))}
    assert {path.name for path in (finished / "children").iterdir()} == names


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--time-budget", "0.001"], "0 s have passed, of 0.001"),
        (["--target-accuracy", "0", "--target-params", "1000000"], "a child has "),
        (["--stall-generations", "1"], None),
    ],
)
def test_a_search_ends_early_when_it_is_told_to(run, tmp_path, words, reason):
    folder = run(tmp_path, *words, "--finalise-count", "0")
    summary, rows = summary_of(folder), read_logbook(folder / "logbook.csv")
    if reason is None:  # two generations can stall or not
        assert (summary["stopped"] is None) == (len(rows) == 3)
    else:
        assert summary["stopped"].startswith(reason)
        assert len(rows) == 1
    assert read_front(folder / "front.csv")


def test_plots_are_pngs(finished):
    plots = {path.name: path.read_bytes() for path in (finished / "plots").iterdir()}
    assert set(plots) == {"accuracy.png", "front.png", "similarity_loss.png", "size.png"}
    for content in plots.values():
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) > 5000


def test_the_front_has_its_columns(finished, run, tmp_path):
    assert columns_of(finished / "front.csv") == FINALISED_FRONT
    rows = read_front(finished / "front.csv")
    for name in BEFORE:
        assert 1 <= len([row for row in rows if row[name] is not None]) <= 2
    for row in rows:
        before = row["validation_accuracy_before"]
        assert before is None or row["validation_accuracy"] >= before
    plain = run(tmp_path, "--finalise-count", "0")
    assert columns_of(plain / "front.csv") == FRONT


def test_no_member_of_the_front_dominates_another(finished):
    rows = read_front(finished / "front.csv")
    assert len(rows) > 2
    costs = np.array(
        [[-r["validation_accuracy"], r["similarity_loss"], r["param_count"]] for r in rows]
    )
    for cost in costs:
        assert not ((costs <= cost).all(axis=1) & (costs < cost).any(axis=1)).any()
    counts = [row["param_count"] for row in rows]
    assert counts == sorted(counts)


def test_children_load_and_give_what_the_front_says(finished, small_fashion):
    data = load_fashion_mnist(small_fashion)
    inputs, targets = data.test.batch(np.arange(len(data.test)))
    for row in read_front(finished / "front.csv"):
        path = finished / "children" / f"{row['id']}.safetensors"
        child = load_child(path)
        with torch.no_grad():
            accuracy = (child(inputs).argmax(1) == targets).double().mean()
        assert float(accuracy) == pytest.approx(row["test_accuracy"], abs=1e-12)
        assert sum(p.numel() for p in child.parameters()) == row["param_count"]
        widths = [child.layer_1_linear.out_features, child.layer_2_linear.out_features]
        assert "-".join(map(str, widths)) == row["widths"]
        assert row["relative_width"] == sum(widths) / 40
        manifest = json.loads(path.with_suffix(".json").read_text())
        assert manifest["metadata"] == row


@pytest.mark.parametrize("child", ["best", "knee", "within:0.5", "under:12000"])
def test_children_are_exported(finished, small_fashion, tmp_path, capsys, child):
    out = tmp_path / "child.pt2"
    assert main(["export", str(finished), "--child", child, "--out", str(out)]) == 0
    identifier = capsys.readouterr().out.partition(": child ")[2][:3]
    assert identifier == summary_of(finished)["picks"].get(child, identifier)
    inputs, _ = load_fashion_mnist(small_fashion).test.batch(np.arange(50))
    expected = load_child(finished / "children" / f"{identifier}.safetensors")(inputs)
    assert torch.allclose(torch.export.load(out).module()(inputs), expected, atol=1e-5)
    manifest = json.loads((finished / "children" / f"{identifier}.json").read_text())
    assert list(map(len, manifest["kept"].values())) == [
        int(width) for width in manifest["metadata"]["widths"].split("-")
    ]
    parent = json.loads((finished / "parent.json").read_text())
    assert manifest["parent"]["sha256"] == parent["sha256"]


def test_the_summary_has_its_keys(finished, small_fashion, small_parent_file):
    summary = summary_of(finished)
    assert set(summary["seconds"]) == {"search", "finalise"}
    assert all(seconds > 0 for seconds in summary["seconds"].values())
    # Every generation measures new children, and scores survivors of the last on its batch.
    assert summary["evaluations"] == 8 * 3 + summary["rescored"] - summary["duplicates"]
    assert summary["rescored"] > 0
    assert summary["seed"] == 0
    assert {"ecomp_deap", "deap", "numpy", "python", "torch"} <= set(summary["versions"])
    assert set(summary["parent"]) == set(FINALISED_FRONT)
    assert set(summary["best"]) == set(FINALISED_FRONT)
    assert summary["parent"]["widths"] == "24-16"
    assert summary["parent_source"] == str(small_parent_file)
    assert summary["best"] in read_front(finished / "front.csv")
    ids = [row["id"] for row in read_front(finished / "front.csv")]
    picks = summary["picks"]
    assert list(picks) == ["best", "knee", "within:0.01", "under:1941"]
    assert picks["best"] == summary["best"]["id"]
    assert {*picks.values()} <= {*ids, None}
    assert summary["front_size"] == len(read_front(finished / "front.csv"))
    assert str(small_fashion) in summary["data"]["source"]


def test_the_parent_is_kept(finished, small_parent_file):
    kept, given = load_file(finished / "parent.safetensors"), load_file(small_parent_file)
    assert all(np.array_equal(kept[name], given[name]) for name in given)
    assert load_child(finished / "parent.safetensors").output.out_features == 10


def test_the_configuration_can_be_read_back(finished, small_fashion):
    config = RunConfig.from_json_dict(json.loads((finished / "config.json").read_text()))
    assert (config.population, config.generations, config.seed) == (8, 2, 0)
    assert config.data_dir == small_fashion
    assert (config.crossover_rate, config.mutation_rate) == (0.7, 0.3)


def test_the_logbook_has_a_row_for_each_generation(finished):
    rows = read_logbook(finished / "logbook.csv")
    assert [row["gen"] for row in rows] == [0, 1, 2]
    assert rows == read_logbook(finished / "logbook.json")
    for name, figure in product(
        ("accuracy", "similarity_loss", "relative_width", "param_count", "mac_count", "size_bytes"),
        ("min", "mean", "max", "std"),
    ):
        assert all(isinstance(row[f"{name}_{figure}"], (int, float)) for row in rows)
    assert "fitness" in " ".join(rows[0])
    assert columns_of(finished / "timings.csv") == ["generation", "seconds", "hypervolume"]


@pytest.mark.parametrize(
    "words",
    [
        ["--finalise-count", "2", "--finalise-epochs", "1"],
        ["--genome", "weights", "--selection", "roulette"],
        ["--train-steps", "2", "--inherit", "--balanced", "--evaluation", "fixed"],
    ],
)
def test_the_same_seed_gives_the_same_bytes(run, tmp_path, words):
    folders = [
        run(tmp_path / name, *words, "--seed", seed)
        for name, seed in (("a", "3"), ("b", "3"), ("c", "4"))
    ]
    for name in ("logbook.csv", "front.csv", "logbook.json"):
        first, again, other = (folder.joinpath(name).read_bytes() for folder in folders)
        assert first == again
        assert first != other
    sums = [
        {p.name: p.read_bytes() for p in (folder / "children").iterdir()} for folder in folders[:2]
    ]
    assert sums[0] == sums[1]


@pytest.mark.parametrize("name", SIMILARITIES)
def test_every_measure_of_similarity_can_be_asked_for(run, tmp_path, name):
    folder = run(tmp_path, "--similarity", name, "--generations", "1", "--finalise-count", "0")
    config = json.loads((folder / "config.json").read_text())
    assert config["similarity"] == name
    assert (config["perplexity"] is None) == (name != "tsne")
    assert RunConfig.from_json_dict(config).similarity == name
    assert any(row["similarity_loss"] > 0 for row in read_front(folder / "front.csv"))


@pytest.mark.parametrize(
    ("genome", "selection"),
    [*product(("mask", "weights"), ("nsga2", "nsga3", "spea2", "roulette", "tournament"))],
)
def test_every_selection_goes_with_every_genome(run, tmp_path, genome, selection):
    words = ["--genome", genome, "--selection", selection, "--finalise-count", "0"]
    folder = run(tmp_path, *words)
    assert len(read_logbook(folder / "logbook.csv")) == 3
    front = read_front(folder / "front.csv")
    assert front
    assert summary_of(folder)["best"]["id"] in {row["id"] for row in front}


def test_runs_are_numbered_on_and_the_parent_is_trained_once(run, tmp_path, capsys):
    words = ["--parent-epochs", "1", "--no-quiet", "--finalise-count", "0", "--seed", "7"]
    run(tmp_path, *words, n_runs=2)
    said = capsys.readouterr()
    assert said.err.count("training the parent") == 1
    assert "first_1 (1 of 2): generation 2 of 2: accuracy" in said.err
    assert "first_2 (2 of 2)" in said.err
    assert said.out.count("evaluations") == 2
    run(tmp_path, *words)
    said = capsys.readouterr()
    assert "training the parent" not in said.err
    assert f"parent: {tmp_path / 'first_1' / 'parent.safetensors'}, trained before" in said.err
    folders = [tmp_path / f"first_{k}" for k in (1, 2, 3)]
    assert sorted(tmp_path.iterdir()) == folders
    assert [summary_of(folder)["seed"] for folder in folders] == [7, 8, 7]
    parents = {folder.joinpath("parent.safetensors").read_bytes() for folder in folders}
    assert len(parents) == 1
    logbooks = [folder.joinpath("logbook.csv").read_bytes() for folder in folders]
    assert logbooks[0] == logbooks[2] != logbooks[1]
    assert all(summary_of(folder)["parent_source"] == "trained" for folder in folders)


RECIPE = {
    "train_steps": 2,
    "inherit": True,
    "train_loss": {"task": 1.0, "distillation": 0.5},
    "train_batch_size": 32,
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "mixup": 0.2,
    "finalise_count": 2,
    "finalise_epochs": 1,
    "finalise_loss": {"distillation": 1.0, "similarity": 0.1},
    "finalise_learning_rate": 0.004,
    "finalise_schedule": "cosine",
    "finalise_averaging": 0.5,
    "finalise_size_power": 0.5,
}


def test_recipes_are_followed_written_down_and_repeat(run, tmp_path):
    words = []
    for name, value in RECIPE.items():
        text = ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(text)])]
    first, again = (run(tmp_path / name, *words) for name in "ab")
    config = json.loads((first / "config.json").read_text())
    assert {name: config[name] for name in RECIPE} == RECIPE
    parts = ["front.csv", "logbook.csv", "children/001.safetensors"]
    for name in parts:
        assert (first / name).read_bytes() == (again / name).read_bytes()
    words[words.index("--finalise-learning-rate") + 1] = "0.02"
    other = run(tmp_path / "c", *words)
    found = [(first / name).read_bytes() == (other / name).read_bytes() for name in parts[:2]]
    assert found == [False, True]


def test_quiet_says_nothing(run, tmp_path, capsys):
    run(tmp_path, "--finalise-count", "0")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_options_from_a_file(run, tmp_path, small_fashion, small_parent_file):
    options = {
        "n_runs": 1,
        "name": "first",
        "out": str(tmp_path),
        "data-dir": str(small_fashion),
        "parent": str(small_parent_file),
        "population": 8,
        "generations": 2,
        "finalise-count": 0,
        "seed": 3,
        "threads": 1,
        "quiet": True,
        "objectives": ["accuracy", "mac_count"],
    }
    path = tmp_path / "options.toml"
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in options.items()))
    assert main(["run", "--config", str(path), "--generations", "1"]) == 0
    found = read_logbook(tmp_path / "first_1" / "logbook.csv")
    assert len(found) == 2
    again = run(
        tmp_path / "again",
        *("--objectives", "accuracy,mac_count", "--seed", "3"),
        *("--generations", "1", "--finalise-count", "0"),
    )
    assert found == read_logbook(again / "logbook.csv")


def test_a_front_within_limits(run, tmp_path):
    words = ["--max-params", "5000", "--max-macs", "4800", "--finalise-count", "0"]
    folder = run(tmp_path, *words)
    rows = read_front(folder / "front.csv")
    assert rows
    assert all(row["param_count"] <= 5000 and row["mac_count"] <= 4800 for row in rows)
    assert read_logbook(folder / "logbook.csv")[0]["population_infeasible"] > 0
    config = json.loads((folder / "config.json").read_text())
    assert (config["max_params"], config["max_size_bytes"]) == (5000, None)


def test_latency_stands_where_it_is_not_promised_to_repeat(run, tmp_path):
    words = ["--objectives", "accuracy,latency_ms", "--max-latency-ms", "1e6", "--generations", "1"]
    folder = run(tmp_path, *words, "--finalise-count", "0")
    assert columns_of(folder / "front.csv") == [*FRONT[:-1], "latency_ms", FRONT[-1]]
    assert all(row["latency_ms"] > 0 for row in read_front(folder / "front.csv"))
    figures = ["latency_ms_min", "latency_ms_mean", "latency_ms_max"]
    assert columns_of(folder / "timings.csv") == ["generation", "seconds", "hypervolume", *figures]
    assert "latency" not in (folder / "logbook.csv").read_text()
    assert summary_of(folder)["parent"]["latency_ms"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-params", "9"], "max_params: expected at least"),
        (["--probe-layers", "layer_9_act"], "probe_layers: expected names among"),
        (["--batch-size", "99999"], "batch_size"),
        (["--batch-size", "37", "--balanced"], "batch_size: expected a multiple of the 10 classes"),
        (["--perplexity", "90"], "perplexity"),
        (["--genome", "weights", "--recombination-layers", "x"], "recombination_layers"),
        (["--data-dir", "nowhere"], "nowhere"),
        (["--parent", "nowhere.pt"], "parent: no such file: nowhere.pt"),
        (["--parent", "README.md"], "parent: expected a .safetensors"),
        (["--config", "nowhere.toml"], "nowhere.toml: cannot read"),
        (["--epochs", "2"], "epochs: expected either --epochs or --generations"),
        (["--loss-weights", "1,2,1"], "loss_weights: expected only with"),
        (["--popluation", "9"], "did you mean '--population'"),
        (["--preset", "report", "--generations", "1"], "n_search"),
    ],
)
def test_errors_are_one_line_and_leave_nothing_behind(
    small_fashion, small_parent_file, tmp_path, capsys, words, message
):
    out = tmp_path / "out"
    given = ["--data-dir", str(small_fashion), "--parent", str(small_parent_file)]
    assert main(["run", "1", "x", "--out", str(out), *SMALL, *given, *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("ecomp-deap: error: ")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not out.exists()


def test_epochs_are_whole_passes_over_the_search_data(small_fashion, small_parent_file, tmp_path):
    words = ["--data-dir", str(small_fashion), "--parent", str(small_parent_file), "--quiet"]
    options = ["--population", "4", "--batch-size", "200", "--epochs", "1", "--threads", "1"]
    rest = ["--out", str(tmp_path), "--finalise-count", "0"]
    assert main(["run", "1", "x", *words, *options, *rest]) == 0
    assert len(read_logbook(tmp_path / "x_1" / "logbook.csv")) == 1 + 833 // 200
    config = json.loads((tmp_path / "x_1" / "config.json").read_text())
    assert (config["generations"], config["epochs"]) == (4, None)


@pytest.fixture(scope="session")
def report(small_parent_file, tmp_path_factory):
    """The original's protocol in small, on the bundled slice."""
    out = tmp_path_factory.mktemp("report")
    words = ["--preset", "report", "--generations", "3", "--population", "10", "--quiet"]
    rest = ["--mutation-rate", "1", "--threads", "1", "--data-dir", str(BUNDLED_FOLDER)]
    given = ["--out", str(out), "--parent", str(small_parent_file)]
    assert main(["run", "1", "original", *words, *rest, *given]) == 0
    return out / "original_1"


def test_report_has_a_row_for_each_generation_after_the_initial_one(report):
    rows = read_logbook(report / "logbook.csv")
    assert [row["gen"] for row in rows] == [0, 1, 2, 3]
    assert [row["nevals"] for row in rows] == [10] * 4
    config = json.loads((report / "config.json").read_text())
    assert config["genome"] == "weights"
    assert config["selection"] == "roulette"
    assert config["loss_weights"] == [1, 2, 1]
    assert config["batch_size"] == 100
    assert config["perplexity"] == 30
    assert config["crossover_rate"] == 1


def test_report_starts_with_the_originals_rates(report):
    first = read_logbook(report / "logbook.csv")[0]
    rates = [0.1 + 0.07 * i for i in range(10)]
    kept = [(24 - int(rate * 24)) + (16 - int(rate * 16)) for rate in rates]
    assert first["relative_width_max"] == max(kept) / 40
    assert first["relative_width_min"] == min(kept) / 40
    assert first["relative_width_mean"] == pytest.approx(np.mean(kept) / 40, abs=1e-12)


def test_report_evolves_weights_of_every_layer_and_leaves_biases(report):
    parent = load_file(report / "parent.safetensors")
    rows = read_front(report / "front.csv")
    assert rows
    for row in rows:
        child = load_file(report / "children" / f"{row['id']}.safetensors")
        for name in LAYERS:
            weight, bias = child[f"{name}.weight"], child[f"{name}.bias"]
            assert not np.isin(weight[weight != 0], parent[f"{name}.weight"]).all()
            assert np.isin(bias, parent[f"{name}.bias"]).all()


def test_report_recommends_the_fittest_of_all_the_last_generation(report):
    summary = summary_of(report)
    rows = read_front(report / "front.csv")

    def fitness(row):
        return row["validation_accuracy"] - 2 * row["similarity_loss"] + 1 - row["relative_width"]

    assert fitness(summary["best"]) == pytest.approx(max(map(fitness, rows)), abs=1e-12)
    assert columns_of(report / "front.csv") == FRONT
    assert 0 < summary["best"]["test_accuracy"] <= 1
    assert summary["evaluations"] == 40
    assert summary["rescored"] == 0
    assert summary["parent"]["similarity_loss"] == pytest.approx(0, abs=2e-8)
    assert summary["parent"]["relative_width"] == 1
