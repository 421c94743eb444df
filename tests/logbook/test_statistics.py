import pickle
import random
import statistics as stdlib_statistics
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from deap import algorithms, tools
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.logbook import logbook_to_rows, statistics
from ecomp_deap.measurement import Measurement
from tests.logbook.populations import Genome, ParetoGenome, make_toolbox, run_ea_simple, scored


def test_statistics_cover_every_measured_quantity():
    record = statistics().compile(scored([1, 0, 0, 0], [1, 1, 1, 1]))
    assert list(record) == [
        "fitness",
        "accuracy",
        "similarity_loss",
        "relative_width",
        "param_count",
        "mac_count",
        "size_bytes",
        "population",
    ]
    assert record["accuracy"] == {"min": 0.25, "mean": 0.625, "max": 1.0, "std": 0.375}
    assert record["fitness"] == record["accuracy"]
    assert record["similarity_loss"] == {"min": 0.0, "mean": 0.375, "max": 0.75, "std": 0.375}
    assert record["param_count"] == {"min": 10, "mean": 25.0, "max": 40, "std": 15.0}
    assert record["population"] == {"failed": 0, "infeasible": 0, "duplicates": 0}


def test_failed_individuals_are_left_out_and_counted():
    population = scored([1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0])
    for genome in population:
        if genome.measurement.failed:
            genome.measurement = replace(genome.measurement, metric=-1e9)
            genome.fitness.values = (-1e9,)
    record = statistics().compile(population)
    assert record["accuracy"]["min"] == record["fitness"]["min"] == 0.25
    assert record["population"] == {"failed": 2, "infeasible": 0, "duplicates": 0}


@pytest.mark.parametrize("kind", [Genome, ParetoGenome])
def test_where_all_failed_each_statistic_is_none(kind):
    record = statistics().compile(scored([0, 0], [0, 0], kind=kind))
    assert record.pop("population") == {"failed": 2, "infeasible": 0, "duplicates": 0}
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


def test_statistics_of_another_metric_name_the_right_one():
    individual = SimpleNamespace(
        fitness=SimpleNamespace(values=(1.0,)),
        measurement=Measurement(0.5, 0.1, 0.5, 3, 2, 12, metric_name="f1"),
    )
    with pytest.raises(ArgumentError, match="metric of statistics: expected 'f1', got 'accuracy'"):
        statistics().compile([individual])
    assert statistics(metric="f1").compile([individual])["f1"]["mean"] == 0.5


def test_individuals_beyond_the_limits_are_left_out_and_counted():
    population = scored([1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0])
    for genome in population[1:]:
        genome.measurement = replace(genome.measurement, violation=0.5)
    record = statistics().compile(population)
    assert record["accuracy"]["max"] == record["fitness"]["max"] == 0.25
    assert record["param_count"]["max"] == 10
    assert record["population"] == {"failed": 1, "infeasible": 2, "duplicates": 0}
    record = statistics().compile(population[1:])
    assert record["accuracy"] == {"min": None, "mean": None, "max": None, "std": None}
