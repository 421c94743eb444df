import json
import math
import pickle
import random
import statistics as stdlib_statistics
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from deap import algorithms, base, tools
from hypothesis import given, settings
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.logbook import export_logbook, logbook_to_rows, read_logbook, statistics
from ecomp_deap.measurement import Measurement


class WeightedFitness(base.Fitness):
    weights = (1.0,)


class ParetoFitness(base.Fitness):
    weights = (1.0, -1.0)


class Genome(list):
    """Bits whose share of ones is the accuracy; a genome of zeros fails."""

    fitness_type: type[base.Fitness] = WeightedFitness

    def __init__(self, bits):
        super().__init__(bits)
        self.fitness = self.fitness_type()
        self.measurement = None


class ParetoGenome(Genome):
    fitness_type = ParetoFitness


def measure(genome, metric="accuracy"):
    share = sum(genome) / len(genome)
    genome.measurement = Measurement(
        metric=share,
        similarity_loss=1 - share,
        relative_width=share,
        param_count=10 * sum(genome),
        mac_count=20 * sum(genome),
        failed=not any(genome),
        metric_name=metric,
    )
    return (share, 1 - share)[: len(genome.fitness.weights)]


def scored(*genomes, kind=Genome, metric="accuracy"):
    population = [kind(bits) for bits in genomes]
    for genome in population:
        genome.fitness.values = measure(genome, metric)
    return population


def make_toolbox(kind):
    toolbox = base.Toolbox()
    toolbox.register("bits", lambda: [random.randint(0, 1) for _ in range(6)])
    toolbox.register("individual", lambda: kind(toolbox.bits()))
    toolbox.register("population", tools.initRepeat, list, toolbox.individual)
    toolbox.register("evaluate", measure)
    toolbox.register("mate", tools.cxTwoPoint)
    toolbox.register("mutate", tools.mutFlipBit, indpb=0.2)
    toolbox.register("select", tools.selNSGA2 if kind is ParetoGenome else tools.selBest)
    return toolbox


def run_ea_simple(*, verbose=False, generations=4):
    random.seed(5)
    toolbox = make_toolbox(Genome)
    population = toolbox.population(n=8)
    # One failed child, so that the flag is seen in the first generation.
    population[0][:] = [0] * 6
    return algorithms.eaSimple(
        population, toolbox, 0.5, 0.2, generations, stats=statistics(), verbose=verbose
    )[1]


# --- statistics -----------------------------------------------------------------------------


def test_statistics_cover_every_measured_quantity():
    record = statistics().compile(scored([1, 0, 0, 0], [1, 1, 1, 1]))
    assert list(record) == [
        "fitness",
        "accuracy",
        "similarity_loss",
        "relative_width",
        "param_count",
        "mac_count",
        "population",
    ]
    assert record["accuracy"] == {"min": 0.25, "mean": 0.625, "max": 1.0, "std": 0.375}
    assert record["fitness"] == record["accuracy"]
    assert record["similarity_loss"] == {"min": 0.0, "mean": 0.375, "max": 0.75, "std": 0.375}
    assert record["param_count"] == {"min": 10, "mean": 25.0, "max": 40, "std": 15.0}
    assert record["population"] == {"failed": 0}


def test_failed_individuals_are_left_out_and_counted():
    population = scored([1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0])
    for genome in population:
        if genome.measurement.failed:
            genome.measurement = replace(genome.measurement, metric=-1e9)
            genome.fitness.values = (-1e9,)
    record = statistics().compile(population)
    assert record["accuracy"]["min"] == record["fitness"]["min"] == 0.25
    assert record["population"] == {"failed": 2}


@pytest.mark.parametrize("kind", [Genome, ParetoGenome])
def test_where_all_failed_each_statistic_is_none(kind):
    record = statistics().compile(scored([0, 0], [0, 0], kind=kind))
    assert record.pop("population") == {"failed": 2}
    for chapter in record.values():
        assert chapter == {"min": None, "mean": None, "max": None, "std": None}


def test_pareto_fitness_has_one_number_per_objective():
    record = statistics().compile(scored([1, 0, 0, 0], [1, 1, 1, 1], kind=ParetoGenome))
    assert record["fitness"] == {
        "min": (0.25, 0.0),
        "mean": (0.625, 0.375),
        "max": (1.0, 0.75),
        "std": (0.375, 0.375),
    }


def test_statistics_are_plain_python_numbers():
    population = scored([1, 0, 0, 0], [1, 1, 1, 1])
    for genome in population:
        found = genome.measurement
        genome.measurement = replace(
            found, metric=np.float32(found.metric), param_count=np.int64(found.param_count)
        )
    record = statistics().compile(population)
    assert [type(v) for v in record["accuracy"].values()] == [float] * 4
    assert [type(v) for v in record["fitness"].values()] == [float] * 4
    assert [type(v) for v in record["param_count"].values()] == [int, float, int, float]
    assert type(record["population"]["failed"]) is int


def with_accuracies(values):
    population = scored(*[[1]] * len(values))
    for genome, value in zip(population, values, strict=True):
        genome.measurement = replace(genome.measurement, metric=value)
    return population


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30), st.randoms())
def test_mean_and_std_agree_with_exact_arithmetic_in_any_order(values, rng):
    record = statistics().compile(with_accuracies(values))["accuracy"]
    scale = max(map(abs, values))
    assert record["mean"] == pytest.approx(stdlib_statistics.mean(values), rel=1e-14, abs=1e-300)
    expected = stdlib_statistics.pstdev(values)
    assert record["std"] == pytest.approx(expected, rel=1e-9, abs=1e-15 * scale)
    assert record["min"] <= record["mean"] <= record["max"]
    shuffled = rng.sample(values, len(values))
    assert statistics().compile(with_accuracies(shuffled))["accuracy"] == record


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 30))
def test_equal_values_have_themselves_as_mean_and_no_deviation(value, n):
    record = statistics().compile(with_accuracies([value] * n))["accuracy"]
    assert record == {"min": value, "mean": value, "max": value, "std": 0.0}


def test_enormous_values_do_not_overflow():
    record = statistics().compile(with_accuracies([1e308, -1e308, 1e308, -1e308]))["accuracy"]
    assert record == {"min": -1e308, "mean": 0.0, "max": 1e308, "std": 1e308}


def test_statistics_take_the_tasks_own_metric():
    record = statistics(metric="r2").compile(scored([1, 0], [1, 1], metric="r2"))
    assert record["r2"]["max"] == 1.0
    assert "accuracy" not in record


@pytest.mark.parametrize("metric", ["", "fitness", "population", "param_count", None])
def test_metric_cannot_be_another_chapter(metric):
    with pytest.raises(ArgumentError, match=r"metric: expected a name other than"):
        statistics(metric=metric)


def test_unevaluated_individuals_are_refused():
    with pytest.raises(ArgumentError, match=r"individuals with a measurement"):
        statistics().compile([Genome([1, 0])])
    [invalid] = scored([1, 0])
    del invalid.fitness.values
    with pytest.raises(ArgumentError, match=r"individuals with a valid fitness"):
        statistics().compile([invalid])


def test_statistics_survive_pickling():
    population = scored([1, 0, 0], [1, 1, 1])
    copied = pickle.loads(pickle.dumps(statistics()))
    assert copied.compile(population) == statistics().compile(population)


def test_ea_simple_prints_and_records_them(capsys):
    logbook = run_ea_simple(verbose=True)
    printed = capsys.readouterr().out
    assert "similarity_loss" in printed
    assert "failed" in printed
    assert len(str(logbook).splitlines()) == len(logbook) + 3
    assert logbook.chapters["population"].select("failed")[0] >= 1
    assert len(logbook) == 5


def test_the_printed_logbook_bears_generations_without_values():
    logbook = tools.Logbook()
    for genomes in ([[0, 0]], [[1, 0]]):
        logbook.record(gen=len(logbook), **statistics().compile(scored(*genomes)))
    assert "None" in logbook.stream
    assert logbook.stream == ""


def test_mu_plus_lambda_records_a_pareto_fitness(capsys):
    random.seed(3)
    toolbox = make_toolbox(ParetoGenome)
    _, logbook = algorithms.eaMuPlusLambda(
        toolbox.population(n=8), toolbox, 8, 8, 0.6, 0.4, 3, stats=statistics(), verbose=True
    )
    assert "nevals" in capsys.readouterr().out
    rows = logbook_to_rows(logbook)
    assert {"fitness_mean_0", "fitness_mean_1"} <= rows[0].keys()


# --- rows -----------------------------------------------------------------------------------


def test_rows_are_flat_and_in_order():
    rows = logbook_to_rows(run_ea_simple())
    names = ["fitness", "accuracy", "similarity_loss", "relative_width", "param_count"]
    statistics_of = [f"{n}_{s}" for n in [*names, "mac_count"] for s in ("min", "mean", "max")]
    expected = ["gen", "nevals", *statistics_of, "population_failed"]
    assert [c for c in rows[0] if not c.endswith("_std")] == expected
    assert all(list(row) == list(rows[0]) for row in rows)
    assert [row["gen"] for row in rows] == [0, 1, 2, 3, 4]


def test_rows_of_a_logbook_without_chapters():
    logbook = tools.Logbook()
    logbook.record(mean=0.5, nevals=3, gen=0)
    logbook.record(mean=0.25, nevals=2, gen=1, note="late")
    rows = logbook_to_rows(logbook)
    assert rows == [
        {"gen": 0, "nevals": 3, "mean": 0.5, "note": None},
        {"gen": 1, "nevals": 2, "mean": 0.25, "note": "late"},
    ]
    assert list(rows[0]) == ["gen", "nevals", "mean", "note"]


def test_rows_of_nested_chapters():
    logbook = tools.Logbook()
    logbook.record(gen=0, size={"deep": {"max": 4}, "mean": 1.5})
    assert list(logbook_to_rows(logbook)[0].items()) == [
        ("gen", 0),
        ("size_mean", 1.5),
        ("size_deep_max", 4),
    ]


def test_sequences_become_numbered_columns():
    logbook = tools.Logbook()
    logbook.record(gen=0, fit={"mean": (1.0, 2.0), "all": np.array([[1, 2]])}, best=[7])
    assert logbook_to_rows(logbook) == [
        {
            "gen": 0,
            "best_0": 7,
            "fit_mean_0": 1.0,
            "fit_mean_1": 2.0,
            "fit_all_0_0": 1,
            "fit_all_0_1": 2,
        }
    ]


@pytest.mark.parametrize("failed_first", [True, False])
def test_a_generation_of_failures_adds_no_column_to_a_pareto_fitness(failed_first):
    logbook = tools.Logbook()
    for genomes in sorted([[[1, 0]], [[0, 0]]], reverse=not failed_first):
        record = statistics().compile(scored(*genomes, kind=ParetoGenome))
        logbook.record(gen=len(logbook), **record)
    rows = logbook_to_rows(logbook)
    failed, good = rows if failed_first else reversed(rows)
    assert "fitness_mean" not in good
    assert (good["fitness_mean_0"], failed["fitness_mean_0"]) == (0.5, None)
    assert list(good)[1:9] == [
        f"fitness_{s}_{i}" for s in ("min", "mean", "max", "std") for i in (0, 1)
    ]


def test_chapters_that_miss_records_keep_to_their_generation():
    logbook = tools.Logbook()
    logbook.record(gen=0)
    logbook.record(gen=1, late={"mean": 0.5})
    logbook.record(gen=2)
    logbook.record(gen=3, late={"mean": 0.75})
    assert [row["late_mean"] for row in logbook_to_rows(logbook)] == [None, 0.5, None, 0.75]
    logbook.pop(0)  # DEAP leaves the chapters alone here
    logbook.pop(0)
    assert [row["late_mean"] for row in logbook_to_rows(logbook)] == [None, 0.75]


def test_values_set_in_a_record_afterwards_do_not_hide_its_chapters():
    logbook = tools.Logbook()
    logbook.record(gen=0, nevals=4)
    logbook.record(gen=1, nevals=4, late={"mean": 0.5})
    logbook[1].update(nevals=5, seconds=2.0)
    expected = {"gen": 1, "nevals": 5, "seconds": 2.0, "late_mean": 0.5}
    assert logbook_to_rows(logbook)[1] == expected


def test_rows_hold_pythons_numbers():
    logbook = tools.Logbook()
    values = [np.float32(0.5), np.int8(3), np.bool_(True), np.array(2.5), np.longdouble(1.5)]
    logbook.record(gen=0, **{f"v{i}": value for i, value in enumerate(values)})
    row = logbook_to_rows(logbook)[0]
    assert [type(value) for value in row.values()] == [int, float, int, bool, float, float]
    assert list(row.values()) == [0, 0.5, 3, True, 2.5, 1.5]


def test_rows_leave_the_logbook_as_it_is():
    logbook = run_ea_simple()
    before = pickle.dumps(logbook)
    rows = logbook_to_rows(logbook)
    rows[0]["gen"] = 99
    assert pickle.dumps(logbook) == before


def test_rows_pass_unchanged():
    rows = logbook_to_rows(run_ea_simple())
    again = logbook_to_rows(rows)
    assert again == rows
    assert list(again[0]) == list(rows[0])


def test_rows_of_an_empty_logbook():
    assert logbook_to_rows(tools.Logbook()) == []


def test_columns_that_clash_are_refused():
    logbook = tools.Logbook()
    logbook.record(gen=0, a_b=1, a={"b": 2})
    with pytest.raises(ArgumentError, match=r"one value per column of a record, got 'a_b'"):
        logbook_to_rows(logbook)


def test_rows_make_a_data_frame():
    frame = pandas.DataFrame(logbook_to_rows(run_ea_simple()))
    assert frame.shape == (5, 2 + 6 * 4 + 1)
    assert frame["accuracy_mean"].between(0, 1).all()


# --- files ----------------------------------------------------------------------------------

FINITE = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text("abcdefgh-é,\"' ", min_size=1, max_size=5)
# No digits and no "\r": CSV refuses text that would not come back, see below.
TEXTS = st.text("abcxyz-é,;\"'\n\t ", min_size=1, max_size=8)
NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(), FINITE)
VALUES = st.one_of(NUMBERS, TEXTS, st.tuples(FINITE, st.none() | FINITE), FINITE.map(np.float64))
CHAPTERS = st.dictionaries(NAMES, VALUES, max_size=4)


@st.composite
def logbooks(draw):
    logbook = tools.Logbook()
    scalars = draw(st.lists(NAMES.map("s{}".format), max_size=3, unique=True))
    chapters = draw(st.lists(NAMES.map("c{}".format), max_size=3, unique=True))
    for gen in range(draw(st.integers(0, 5))):
        infos = {name: draw(VALUES) for name in scalars}
        infos |= {name: draw(CHAPTERS) for name in chapters}
        logbook.record(gen=gen, nevals=draw(st.integers()), **infos)
    return logbook


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
@settings(deadline=None)
@given(logbook=logbooks())
def test_every_logbook_reads_back_bit_for_bit(tmp_path_factory, suffix, logbook):
    path = tmp_path_factory.getbasetemp() / f"logbook.{suffix}"
    rows = logbook_to_rows(logbook)
    assert export_logbook(logbook, path) == path
    back = read_logbook(path)
    # repr tells 1 from 1.0 and True, and 0.0 from -0.0, and shows every bit of a float.
    assert repr(back) == repr(rows)
    assert b"\r" not in path.read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
def test_extreme_floats_read_back(tmp_path, suffix):
    values = [5e-324, -5e-324, 1.7976931348623157e308, 0.1, 1e16, -0.0, 1 / 3, 2.0, 1e-7]
    logbook = tools.Logbook()
    for gen, value in enumerate(values):
        logbook.record(gen=gen, value=value)
    rows = read_logbook(export_logbook(logbook, tmp_path / f"l.{suffix}"))
    assert [row["value"].hex() for row in rows] == [value.hex() for value in values]


def test_a_run_reads_back_from_every_format(tmp_path):
    logbook = run_ea_simple()
    for suffix in ("csv", "json", "jsonl"):
        path = export_logbook(logbook, tmp_path / "new" / f"logbook.{suffix}")
        assert read_logbook(path) == logbook_to_rows(logbook)


def test_csv_is_plain(tmp_path):
    logbook = tools.Logbook()
    logbook.record(gen=0, nevals=np.int64(4), acc={"mean": 0.1, "max": None})
    path = export_logbook(logbook, str(tmp_path / "logbook.csv"))
    assert path.read_bytes() == b"gen,nevals,acc_mean,acc_max\n0,4,0.1,\n"
    assert pandas.read_csv(path)["acc_mean"].tolist() == [0.1]


def test_json_holds_the_chapters_and_parses_strictly(tmp_path):
    logbook = tools.Logbook()
    logbook.record(gen=0, acc={"mean": 0.1, "max": None})
    logbook.record(gen=1, acc={"mean": 0.2, "max": 0.5})
    text = export_logbook(logbook, tmp_path / "l.json").read_text()
    assert text == (
        '[\n{"gen": 0, "acc_mean": 0.1, "acc_max": null},\n'
        '{"gen": 1, "acc_mean": 0.2, "acc_max": 0.5}\n]\n'
    )
    lines = export_logbook(logbook, tmp_path / "l.jsonl").read_text().splitlines()
    assert [json.loads(line)["gen"] for line in lines] == [0, 1]


def test_the_format_can_be_named(tmp_path):
    path = export_logbook(run_ea_simple(), tmp_path / "log.txt", format="csv")
    assert len(path.read_text().splitlines()) == 6
    assert read_logbook(path, format="csv") == logbook_to_rows(run_ea_simple())


@pytest.mark.parametrize("act", [lambda p, **o: export_logbook([], p, **o), read_logbook])
def test_unknown_formats_are_refused(tmp_path, act):
    with pytest.raises(ArgumentError, match=r"path: expected a suffix of \.csv, \.json, \.jsonl"):
        act(tmp_path / "logbook.pkl")
    with pytest.raises(ArgumentError, match=r"format: expected one of csv, json, jsonl.*'xml'"):
        act(tmp_path / "logbook.csv", format="xml")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
@pytest.mark.parametrize("format", ["csv", "json", "jsonl"])
def test_nan_and_infinities_are_refused(tmp_path, format, value):
    logbook = tools.Logbook()
    logbook.record(gen=0, acc={"mean": 0.5})
    logbook.record(gen=1, acc={"mean": value})
    with pytest.raises(ArgumentError, match=r"logbook\[1\] acc_mean: expected a finite number"):
        export_logbook(logbook, tmp_path / f"l.{format}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [object(), 1j, b"bytes"])
def test_other_values_are_refused(tmp_path, value):
    with pytest.raises(ArgumentError, match=r"logbook\[0\] x: expected a number, text or None"):
        export_logbook([{"x": value}], tmp_path / "l.json")


@pytest.mark.parametrize("text", ["12", "-1.5", "1e+16", "2.5e-07", "True", "", "a\rb"])
def test_text_that_csv_would_change_is_refused(tmp_path, text):
    with pytest.raises(ArgumentError, match=r"values that CSV can tell apart \(or json\)"):
        export_logbook([{"gen": 0, "x": text}], tmp_path / "l.csv")
    path = export_logbook([{"gen": 0, "x": text}], tmp_path / "l.json")
    assert read_logbook(path) == [{"gen": 0, "x": text}]


@pytest.mark.parametrize(
    "text", ["007", "nan", "inf", "1e5", "12e5", "1e999", "-0", "231-201", "1_000", "１２"]
)
def test_text_that_is_no_number_stays_text(tmp_path, text):
    path = export_logbook([{"x": text}], tmp_path / "l.csv")
    assert read_logbook(path) == [{"x": text}]


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = export_logbook(run_ea_simple(), tmp_path / "l.csv")
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match="finite"):
        export_logbook([{"x": math.nan}], path)
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        export_logbook([{"x": "\ud800"}], path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["l.csv"]


def test_a_failed_replacement_leaves_nothing_behind(tmp_path):
    (tmp_path / "l.csv").mkdir()
    with pytest.raises(OSError, match=r"l\.csv"):
        export_logbook([{"gen": 0}], tmp_path / "l.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["l.csv"]


def test_an_open_reader_keeps_the_old_file(tmp_path):
    path = export_logbook([{"gen": 0}], tmp_path / "l.csv")
    with path.open() as reader:
        export_logbook([{"gen": 0}, {"gen": 1}], path)
        assert reader.read() == "gen\n0\n"
    assert len(read_logbook(path)) == 2


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("l.csv", b"a,b\n1\n", "row 1 has 1 fields for 2 columns"),
        ("l.csv", b"a,a\n1,2\n", "names a column twice"),
        ("l.csv", b'a,b\n1,"2\n', "unexpected end of data"),
        ("l.csv", b"a\n\xff\n", "can't decode"),
        ("l.json", b'[{"gen": 0}', "delimiter"),
        ("l.json", b'[{"gen": NaN}]', "NaN is not a finite number"),
        ("l.json", b'[{"gen": 1e999}]', "1e999 is not a finite number"),
        ("l.json", b'{"gen": 0}', "does not hold rows"),
        ("l.jsonl", b"[1]\n", "does not hold rows"),
        ("l.jsonl", b'{"gen": 0}\n{"gen"', "delimiter"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: expected a logbook as .*{complaint}"):
        read_logbook(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        read_logbook(tmp_path / "none.csv")


# --- the original's layout ------------------------------------------------------------------


def test_ecomp_layout(tmp_path):
    logbook = tools.Logbook()
    for genomes in ([[1, 0, 0, 0], [1, 1, 1, 1]], [[0, 0]]):
        logbook.record(gen=len(logbook), **statistics().compile(scored(*genomes)))
    path = export_logbook(
        logbook,
        tmp_path / "results.json",
        format="ecomp",
        name="121",
        configs={"population_size": 2},
        best_test_accuracy=np.float64(0.875),
    )
    assert json.loads(path.read_text()) == {
        "name": "121",
        "configs": {"population_size": 2},
        "results": {
            "fitness": {"averages": [0.625, None], "best": [1.0, None], "worst": [0.25, None]},
            "accuracy": {"averages": [0.625, None], "best": [1.0, None], "worst": [0.25, None]},
            "loss": {"averages": [0.375, None], "best": [0.0, None], "worst": [0.75, None]},
            "compression": {"averages": [0.625, None], "best": [0.25, None], "worst": [1.0, None]},
        },
        "best_test_acc": 0.875,
    }


def test_ecomp_layout_from_rows_read_back(tmp_path):
    logbook = run_ea_simple()
    direct = export_logbook(logbook, tmp_path / "a.json", format="ecomp")
    rows = read_logbook(export_logbook(logbook, tmp_path / "l.csv"))
    later = export_logbook(rows, tmp_path / "b.json", format="ecomp")
    assert direct.read_bytes() == later.read_bytes()


def test_ecomp_layout_names_the_missing_chapter(tmp_path):
    logbook = tools.Logbook()
    record = statistics(metric="r2").compile(scored([1, 0], metric="r2"))
    logbook.record(gen=0, **record)
    with pytest.raises(ArgumentError, match=r"expected a chapter 'accuracy' with min, mean"):
        export_logbook(logbook, tmp_path / "r.json", format="ecomp")
    with pytest.raises(ArgumentError, match=r"expected a chapter 'fitness'"):
        export_logbook(tools.Logbook(), tmp_path / "r.json", format="ecomp")


def test_ecomp_layout_needs_a_weighted_fitness(tmp_path):
    logbook = tools.Logbook()
    logbook.record(gen=0, **statistics().compile(scored([1, 0], kind=ParetoGenome)))
    with pytest.raises(ArgumentError, match=r"expected a weighted fitness .* got a Pareto"):
        export_logbook(logbook, tmp_path / "r.json", format="ecomp")


@pytest.mark.parametrize("configs", [{"x": math.nan}, {"x": object()}])
def test_ecomp_layout_refuses_configs_outside_of_json(tmp_path, configs):
    with pytest.raises(ArgumentError, match=r"expected values that JSON can carry"):
        export_logbook(run_ea_simple(), tmp_path / "r.json", format="ecomp", configs=configs)


@pytest.mark.parametrize("extra", [{"name": "x"}, {"configs": {}}, {"best_test_accuracy": 0.5}])
def test_the_originals_fields_need_its_format(tmp_path, extra):
    with pytest.raises(ArgumentError, match=r"expected nothing unless format is 'ecomp'"):
        export_logbook(run_ea_simple(), tmp_path / "l.json", **extra)


def test_statistics_of_another_metric_name_the_right_one():
    individual = SimpleNamespace(
        fitness=SimpleNamespace(values=(1.0,)),
        measurement=Measurement(0.5, 0.1, 0.5, 3, 2, metric_name="f1"),
    )
    with pytest.raises(ArgumentError, match="metric of statistics: expected 'f1', got 'accuracy'"):
        statistics().compile([individual])
    assert statistics(metric="f1").compile([individual])["f1"]["mean"] == 0.5
