import json
import math
import statistics

import numpy as np
import pytest

from ecomp_deap import Task, load_fashion_mnist, load_parent, make_toolbox
from tests.experiments.scripts import load, read_table, run_main, run_to_table

ARMS = [(mode, name) for mode in ("pareto", "weighted") for name in ("none", "tsne", "cka")]
LIMITS = (12_000, 6_000)
FIGURES = (
    *("test_hypervolume", "test_accuracy_under_12000", "test_accuracy_under_6000"),
    "smallest_within_1",
)


@pytest.fixture(scope="module")
def arguments(small_fashion, small_parent_file):
    return [
        *("--seeds", 2, "--measures", "tsne,cka", "--limits", ",".join(map(str, LIMITS))),
        *("--population", 8, "--generations", 2),
        *("--finalise-children", 4, "--finalise-epochs", 1),
        *("--data-dir", small_fashion, "--parent", small_parent_file),
    ]


@pytest.fixture(scope="module")
def out(arguments, tmp_path_factory):
    """The outputs of the script as users start it."""
    return run_to_table(
        "similarity_ablation", arguments, tmp_path_factory.mktemp("similarity-ablation")
    )


@pytest.fixture(scope="module")
def runs(out):
    found = [json.loads(path.read_text()) for path in sorted((out / "runs").iterdir())]
    return {(run["mode"], run["measure"], run["seed"]): run for run in found}


@pytest.fixture(scope="module")
def tables():
    return load("similarity_ablation_table")


def make_run(mode, measure, seed, rows, validation_before=None):
    """A search whose children are (parameters, accuracy before, after); None: not finalised."""
    return {
        **{"mode": mode, "measure": measure, "seed": seed, "similarity_weight": None},
        "parent": {"param_count": 1000, "validation_accuracy": 0.9, "test_accuracy": 0.88},
        "rows": [
            {
                "param_count": count,
                "validation_accuracy": before if after is None else after,
                "test_accuracy": (before if after is None else after) - 0.02,
                "validation_accuracy_before": None if after is None else before,
                "test_accuracy_before": None if after is None else before - 0.02,
            }
            for count, before, after in rows
        ],
    }


def results_of(tables, differences, *, limits=(), without=0.5):
    """Results of both modes where each measure's accuracy differs by so much, seed by seed."""
    return [
        tables.result(make_run(mode, measure, seed, [(100, without + d, None)]), limits)
        for mode in tables.MODES
        for measure, found in {"none": [0.0] * 10, **differences}.items()
        for seed, d in enumerate(found, start=1)
    ]


def lines_of(lines, **of):
    return [line for line in lines if all(line[name] == value for name, value in of.items())]


def test_every_arm_and_seed_has_a_run(runs):
    assert set(runs) == {(*arm, seed) for arm in ARMS for seed in (1, 2)}


def test_arms_of_a_mode_take_the_same(runs):
    for mode in ("pareto", "weighted"):
        found = [run for run in runs.values() if run["mode"] == mode]
        assert len({run["evaluations"] + run["duplicates"] for run in found}) == 1
        assert len({run["training_samples"] for run in found}) == 1
    for run in runs.values():
        finalised = [row for row in run["rows"] if row["validation_accuracy_before"] is not None]
        assert len(finalised) == 4
        assert run["training_samples"] == 4 * 833  # one epoch of the search data


def test_arms_differ_in_what_they_find(runs):
    for mode in ("pareto", "weighted"):
        for seed in (1, 2):
            found = [json.dumps(runs[m, name, seed]["rows"]) for m, name in ARMS if m == mode]
            assert len(set(found)) == 3


def test_weights_give_every_measure_the_spread_of_the_original(runs, arguments):
    assert {runs["weighted", "none", seed]["similarity_weight"] for seed in (1, 2)} == {0}
    assert {runs["weighted", "tsne", seed]["similarity_weight"] for seed in (1, 2)} == {2}
    assert {run["similarity_weight"] for run in runs.values() if run["mode"] == "pareto"} == {None}

    words = dict(zip(arguments[::2], arguments[1::2], strict=True))
    spreads = {}
    for name in ("tsne", "cka"):
        task = Task(
            load_parent(words["--parent"]),
            load_fashion_mnist(words["--data-dir"]),
            prune_inputs=True,
            similarity=name,
        )
        toolbox = make_toolbox(task, seed=2, highest_rate=0.9, engine="batched", threads=1)
        population = toolbox.population(n=8)
        list(toolbox.map(toolbox.evaluate, population))
        spreads[name] = np.std([i.measurement.similarity_loss for i in population])
    weight = runs["weighted", "cka", 2]["similarity_weight"]
    assert weight * spreads["cka"] == pytest.approx(2 * spreads["tsne"])


def test_without_generations_all_arms_find_the_same(arguments, tmp_path):
    """They start from one population, and the rest of the work looks at no similarity."""
    words = ("--generations", 0, "--seeds", 1, "--finalise-children", 16)
    run_main("similarity_ablation", *arguments, *words, "--out", tmp_path)
    for path in (tmp_path / "runs").iterdir():
        rows = json.loads(path.read_text())["rows"]
        # All children are finalised, each once.
        assert len({row["param_count"] for row in rows}) == len(rows) == 8
        assert all(row["validation_accuracy_before"] is not None for row in rows)
    results = read_table(tmp_path / "results.csv")
    columns = [f"{stage}_{figure}" for stage in ("before", "after") for figure in FIGURES]
    assert len({tuple(row[name] for name in columns) for row in results}) == 1
    lines = read_table(tmp_path / "table.csv")
    assert {line["difference"] for line in lines if line["figure"] == FIGURES[0]} == {"", "0.0"}
    text = (tmp_path / "table.md").read_text()
    assert "helps in 0 and hurts in 0" in text
    assert "So few seeds cannot show any difference" in text


def test_tables_have_every_comparison(out, runs):
    results = read_table(out / "results.csv")
    assert [(r["mode"], r["measure"], int(r["seed"])) for r in results] == [
        (*arm, seed) for seed in (1, 2) for arm in ARMS
    ]
    lines = read_table(out / "table.csv")
    assert [(r["mode"], r["stage"], r["figure"], r["measure"]) for r in lines] == [
        (mode, stage, figure, measure)
        for mode in ("pareto", "weighted")
        for stage in ("before", "after")
        for figure in FIGURES
        for measure in ("none", "tsne", "cka")
    ]
    for line in lines_of(lines, figure=FIGURES[0]):
        column = f"{line['stage']}_{FIGURES[0]}"
        ours, without = (
            [float(r[column]) for r in lines_of(results, mode=line["mode"], measure=measure)]
            for measure in (line["measure"], "none")
        )
        assert float(line["mean"]) == pytest.approx(statistics.fmean(ours))
        if line["measure"] != "none":
            difference = statistics.fmean(ours) - statistics.fmean(without)
            assert float(line["difference"]) == pytest.approx(difference)
    text = (out / "table.md").read_text()
    assert text.count("| no similarity |") == text.count("| cka |") == 4
    assert "tsne 2, cka " in text
    assert "training samples: 3,332." in text
    assert (out / "differences.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_finished_searches_are_kept(out, arguments, capsys):
    before = {p: p.stat().st_mtime_ns for p in (out / "runs").iterdir()}
    table = (out / "table.csv").read_bytes()
    gone = out / "runs" / "weighted_cka_seed_2.json"
    content = json.loads(gone.read_text())
    gone.unlink()
    run_main("similarity_ablation", *arguments, "--out", out)
    assert capsys.readouterr().err.startswith("1/1: weighted, cka, seed 2: ")
    again = json.loads(gone.read_text())
    assert {**again, "seconds": 0} == {**content, "seconds": 0}
    assert all(p.stat().st_mtime_ns == t for p, t in before.items() if p != gone)
    assert (out / "table.csv").read_bytes() == table


def test_other_settings_are_not_mixed(out, arguments):
    with pytest.raises(SystemExit, match=r"other settings \(generations\)"):
        run_main("similarity_ablation", *arguments, "--generations", 3, "--out", out)


def test_each_seed_has_a_parent_of_its_own(arguments, tmp_path):
    without_parent = arguments[:-2]
    run_main(
        *("similarity_ablation", *without_parent, "--generations", 0, "--finalise-epochs", 0),
        *("--train-steps", 1, "--measures", "cka", "--out", tmp_path),
    )
    first, second = sorted((tmp_path / "parents").glob("*.safetensors"))
    assert first.read_bytes() != second.read_bytes()
    results = read_table(tmp_path / "results.csv")
    for seed in ("1", "2"):
        assert len({r["parent_test_accuracy"] for r in results if r["seed"] == seed}) == 1
    # Eight children take one step of a hundred samples each; none is finalised.
    assert {r["training_samples"] for r in results} == {"800"}
    assert all(r[f"before_{f}"] == r[f"after_{f}"] for r in results for f in FIGURES)


def test_figures_before_and_after_are_those_one_can_count(tables):
    children = [(10, 0.5, 0.6), (100, 0.7, 0.895), (500, 0.89, None), (900, 0.85, 0.88)]
    row = tables.result(make_run("pareto", "none", 1, children), (400, 9))
    # Test accuracy is 0.02 below validation accuracy, of which the last child has too little.
    before = 0.38 * 2 + 0.2 * 1 + 0.19 * math.log10(2)
    assert row["before_test_hypervolume"] == pytest.approx(before)
    assert row["after_test_hypervolume"] == pytest.approx(0.48 * 2 + 0.295 * 1)
    assert row["before_test_accuracy_under_400"] == pytest.approx(0.68)
    assert row["after_test_accuracy_under_400"] == pytest.approx(0.875)
    assert row["after_test_accuracy_under_9"] is None
    assert row["before_smallest_within_1"] == 0.5
    assert row["after_smallest_within_1"] == 0.1
    assert row["parent_test_accuracy"] == 0.88


def test_no_child_within_a_point_is_no_figure(tables):
    row = tables.result(make_run("pareto", "none", 1, [(100, 0.889, None)]), ())
    assert row["after_smallest_within_1"] is None


def test_paired_statistics_are_those_of_the_differences(tables):
    differences = [0.05, -0.01, 0.02, 0.03, 0.04, 0.06, 0.07, 0.08, 0.09, 0.1]
    lines = tables.table(results_of(tables, {"cka": differences}), ())
    without, cka = lines_of(lines, mode="weighted", stage="before", figure=FIGURES[0])
    assert (without["mean"], without["difference"]) == (pytest.approx(0.38), None)
    # At one decade the hypervolume is the accuracy above chance.
    assert cka["difference"] == pytest.approx(0.053)
    half = 2.262157 * statistics.stdev(differences) / math.sqrt(10)
    assert cka["low"] == pytest.approx(0.053 - half, rel=1e-5)
    assert cka["high"] == pytest.approx(0.053 + half, rel=1e-5)
    assert (cka["n"], cka["pairs"], cka["better_seeds"]) == (10, 10, 9)
    # The one negative difference has rank 1: 2 of 2^10 assignments of signs are as extreme on
    # either side.
    assert cka["p"] == pytest.approx(4 / 2**10)
    assert cka["p_holm"] == cka["p"]
    assert cka["verdict"] == "helps"


def test_pairs_are_of_the_same_seed(tables):
    """Whatever varies from seed to seed alone does not count."""
    results = [
        tables.result(make_run(mode, measure, seed, [(100, 0.4 + 0.03 * seed + plus, None)]), ())
        for seed in range(1, 11)
        for mode in tables.MODES
        for measure, plus in (("none", 0.0), ("pkt", 0.001))
    ]
    line = lines_of(tables.table(results, ()), measure="pkt", figure=FIGURES[0])[0]
    assert line["difference"] == pytest.approx(0.001)
    assert line["high"] - line["low"] < 1e-9
    assert line["verdict"] == "helps"


def test_verdicts_are_corrected_for_the_number_of_measures(tables):
    """Nine of ten seeds in one direction are enough alone, and too few among seven measures."""
    mostly = [0.01, 0.011, -0.005, 0.012, 0.013, 0.014, 0.015, 0.016, 0.017, -0.0051]
    alone = tables.table(results_of(tables, {"cka": mostly}), ())
    lines = lines_of(alone, measure="cka", figure=FIGURES[0])
    assert {line["verdict"] for line in lines} == {"helps"}
    others = {name: [0.001, -0.0011] * 5 for name in ("pkt", "tsne", "a", "b", "c", "d")}
    among = tables.table(results_of(tables, {"cka": mostly, **others}), ())
    lines = lines_of(among, measure="cka", figure=FIGURES[0])
    assert {line["verdict"] for line in lines} == {"no difference"}
    assert [line["p_holm"] / line["p"] for line in lines] == pytest.approx([7] * 4)


def test_holm_is_what_the_definition_says(tables):
    assert tables.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert tables.holm([0.6, 0.5]) == [1.0, 1.0]
    assert tables.holm([]) == []


def test_the_text_says_what_helps_and_what_hurts(tables):
    steady = np.linspace(0.01, 0.02, 10)
    mixed = [0.001, -0.0011] * 5
    found = {"cka": steady, "tsne": -steady, "knn_jaccard": mixed, "pkt": [0] * 10}
    results = results_of(tables, found)
    text = tables.markdown(tables.table(results, ()), note="A note.")
    assert text.startswith(
        "Test hypervolume, 10 seeds: of 16 comparisons with the search without similarity, "
        "a measure helps in 4 and hurts in 4.\n"
    )
    assert (
        "- **Pareto, before finalising**: helps: cka; hurts: tsne; no difference that 10 seeds "
        "can show: knn jaccard, pkt.\n"
    ) in text
    assert "So few seeds" not in text
    assert "| no similarity | 0.3800 | – (0) |" in text
    assert "| cka | **+0.0150 [+0.0126, +0.0174], p = 0.0078** |" in text
    assert "| pkt | +0.0000 [+0.0000, +0.0000], p = 1 |" in text
    assert text.endswith("A note.\n")


def test_smaller_is_better_for_the_smallest_child(tables):
    results = [
        tables.result(make_run(mode, measure, seed, [(count + seed**2, 0.9, None)]), ())
        for seed in range(1, 11)
        for mode in tables.MODES
        for measure, count in (("none", 500), ("pkt", 400 - seed))
    ]
    lines = lines_of(tables.table(results, ()), measure="pkt", figure="smallest_within_1")
    assert len(lines) == 4
    for line in lines:
        assert line["difference"] == pytest.approx(-0.1055)
        assert (line["better_seeds"], line["verdict"]) == (10, "helps")


def test_seeds_that_lack_a_figure_make_no_pair(tables):
    def rows(measure, seed):
        has = {"none": seed > 2, "cka": seed < 9, "pkt": False}[measure]
        return [(100 if has else 900, 0.5 + seed / 100 + 0.1 * (measure == "cka"), None)]

    results = [
        tables.result(make_run(mode, measure, seed, rows(measure, seed)), (200,))
        for seed in range(1, 11)
        for mode in tables.MODES
        for measure in ("none", "cka", "pkt")
    ]
    lines = tables.table(results, (200,))
    name = "test_accuracy_under_200"
    without, cka, pkt = lines_of(lines, mode="pareto", stage="after", figure=name)
    assert (without["n"], cka["n"], pkt["n"]) == (8, 8, 0)
    assert (cka["pairs"], cka["better_seeds"]) == (6, 6)
    assert cka["difference"] == pytest.approx(0.1)
    # A measure that nothing can be said of is none of those to correct for.
    assert cka["p_holm"] == cka["p"]
    assert (pkt["pairs"], pkt["p"], pkt["verdict"]) == (0, None, None)
    text = tables.markdown(lines, note="")
    assert "p = 0.031** (8) |" in text
    assert "| – (0) |" in text
