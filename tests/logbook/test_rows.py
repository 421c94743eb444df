import pickle

import numpy as np
import pandas
import pytest
from deap import tools

from ecomp_deap.errors import ArgumentError
from ecomp_deap.logbook import logbook_to_rows, statistics
from tests.logbook.populations import ParetoGenome, run_ea_simple, scored


def test_rows_are_flat_and_in_order():
    rows = logbook_to_rows(run_ea_simple())
    names = ["fitness", "accuracy", "similarity_loss", "relative_width", "param_count"]
    names += ["mac_count", "size_bytes"]
    statistics_of = [f"{n}_{s}" for n in names for s in ("min", "mean", "max")]
    counts = ["population_failed", "population_infeasible", "population_duplicates"]
    expected = ["gen", "nevals", *statistics_of, *counts]
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
    assert frame.shape == (5, 2 + 7 * 4 + 3)
    assert frame["accuracy_mean"].between(0, 1).all()
