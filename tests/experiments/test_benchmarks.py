import gc
import importlib
import sys

import pytest
from deap import tools

from tests.experiments.benchmarks import PNG, load
from tests.experiments.scripts import read_table, run_script

bench = load("_bench")


class Stopwatch:
    """A clock that only the functions move, and what they noted."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def perf_counter(self):
        return self.now

    def taking(self, name, seconds):
        """Return a function that notes its name and takes so long."""

        def run():
            self.calls.append(name)
            self.now += seconds

        return run


@pytest.fixture
def stopwatch(monkeypatch):
    watch = Stopwatch()
    monkeypatch.setattr(bench, "time", watch)
    return watch


def test_alternatives_take_turns_after_a_warm_up(stopwatch):
    seconds = {"a": 2.0, "b": 3.0, "c": 1.0}
    timings = bench.compare({n: stopwatch.taking(n, s) for n, s in seconds.items()}, repeats=4)
    assert "".join(stopwatch.calls) == "abc" + 4 * "abc"
    assert timings == [bench.Timing(name, 4 * (s,)) for name, s in seconds.items()]


def test_what_is_fast_is_called_several_times_in_its_turn(stopwatch):
    functions = {"f": stopwatch.taking("f", 2**-8), "s": stopwatch.taking("s", 2**-5)}
    timings = bench.compare(functions, repeats=3)
    # Six times 2^-8 s are the first to fill 0.02 s.
    assert "".join(stopwatch.calls) == "ff" + "ss" + 3 * ("f" * 6 + "s")
    assert [timing.seconds for timing in timings] == [3 * (2**-8,), 3 * (2**-5,)]


@pytest.mark.parametrize(("limit_s", "rounds"), [(0.0, 3), (7.5, 4), (100.0, 9)])
def test_no_round_begins_after_the_limit_once_there_are_three(stopwatch, limit_s, rounds):
    timings = bench.compare({"any": stopwatch.taking("any", 2.0)}, repeats=9, limit_s=limit_s)
    assert len(timings[0].seconds) == rounds


def test_garbage_is_not_collected_within_a_round_but_again_afterwards():
    enabled = []
    bench.compare({"sound": lambda: enabled.append(gc.isenabled())}, repeats=1)
    assert enabled[-1] is False
    assert gc.isenabled()


def test_garbage_is_collected_again_after_an_error():
    def run():
        if not gc.isenabled():
            raise ZeroDivisionError("within a round")

    with pytest.raises(ZeroDivisionError, match="within a round"):
        bench.compare({"broken": run})
    assert gc.isenabled()


def test_turns_say_themselves_what_they_took(stopwatch):
    turns = {"a": lambda: 5.0, "b": lambda: 7.0}
    assert bench.take_turns(turns, repeats=2) == [
        *(bench.Timing("a", (5.0, 5.0)), bench.Timing("b", (7.0, 7.0)))
    ]


@pytest.mark.parametrize("keep_garbage", [False, True])
def test_turns_collect_garbage_as_python_does_unless_told_otherwise(keep_garbage):
    (timing,) = bench.take_turns(
        {"a": lambda: float(gc.isenabled())}, repeats=2, keep_garbage=keep_garbage
    )
    assert timing.seconds == (float(not keep_garbage),) * 2


def test_the_fastest_is_sought_among_names_that_begin_alike():
    timings = [
        bench.Timing("loop, 1 thread", (3.0, 2.0, 4.0)),
        bench.Timing("loop, 2 threads", (2.0, 2.5, 9.0)),
        bench.Timing("batched", (1.0, 1.0, 1.0)),
    ]
    assert bench.fastest(timings, "loop").name == "loop, 2 threads"


def test_a_ratio_is_the_median_over_rounds_and_not_of_medians():
    baseline = bench.Timing("baseline", (1.0, 10.0, 2.0))
    other = bench.Timing("other", (4.0, 3.0, 10.0))
    assert other.median / baseline.median == 2.0
    assert other.ratio_to(baseline) == 4.0
    assert baseline.row(baseline)["ratio_to_baseline"] == 1.0


def test_a_row_holds_the_setting_and_the_spread():
    timing = bench.Timing("other", (3.0, 10.0, 4.0))
    assert timing.row(bench.Timing("baseline", (1.0, 2.0, 4.0)), n=7) == {
        "n": 7,
        "alternative": "other",
        "median_s": 4.0,
        "min_s": 3.0,
        "max_s": 10.0,
        "rounds": 3,
        "baseline": "baseline",
        "ratio_to_baseline": 3.0,
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.2345, "1.23 s"), (2000.4, "2000 s"), (0.5, "500 ms"), (1e-3, "1 ms"), (4.56e-6, "4.56 µs")],
)
def test_times_have_a_fitting_unit(seconds, text):
    assert bench.seconds_text(seconds) == text


def test_tables_are_written_with_the_machine(tmp_path):
    rows = [{"n": 1, "median_s": 0.1 + 0.2}, {"n": 2, "median_s": 1234.5}]
    table = [{"n": row["n"], "median": row["median_s"], "ratio": None} for row in rows]
    page = bench.write_results(tmp_path / "new", "A title", rows, table, "A note.")
    assert page == (tmp_path / "new" / "table.md").read_text(encoding="utf-8")
    lines = ["| n | median | ratio |", "|---|---|---|", "| 1 | 0.3 |  |", "| 2 | 1234 |  |"]
    assert page.split("\n")[:8] == ["# A title", "", *lines, "", "A note."]
    for name, value in bench.environment().items():
        assert f"{name} {value}" in page
    found = read_table(tmp_path / "new" / "results.csv")
    assert [float(row["median_s"]) for row in found] == [0.1 + 0.2, 1234.5]


def test_the_machine_is_named_with_the_versions_in_use():
    found = bench.environment()
    assert found["python"] == sys.version.split()[0]
    assert found["torch"] == importlib.import_module("torch").__version__.split("+")[0]
    assert found["torch threads"] == "1"
    assert found["processor"]


def test_lines_may_be_missing_from_a_panel(tmp_path):
    panels = {"width": {"a": [(1, 0.1), (10, 0.4)], "b": [(1, 2.0)]}, "depth": {"b": [(2, 3.0)]}}
    bench.plot_lines(panels, tmp_path / "lines.png", title="Lines")
    assert (tmp_path / "lines.png").read_bytes().startswith(PNG)


def test_selection_is_compared_as_users_start_it(tmp_path):
    done = run_script("benchmarks/selection", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (tmp_path / "table.md").read_text(encoding="utf-8").strip()
    rows = read_table(tmp_path / "results.csv")
    assert len(rows) == 2 * 2 * 3
    assert {row["alternative"] for row in rows} == {
        *("ecomp_deap", "DEAP, nd='standard'", "DEAP, nd='log'")
    }
    assert {row["ratio_to_baseline"] for row in rows if row["alternative"] == "ecomp_deap"} == {
        "1.0"
    }
    assert (tmp_path / "selection.png").read_bytes().startswith(PNG)


def test_a_selection_that_differs_from_deaps_is_not_timed(monkeypatch):
    selection = load("selection")

    def other_way_round(individuals, k):
        return tools.selNSGA2(individuals, k)[::-1]

    monkeypatch.setattr(selection, "selNSGA2", other_way_round)
    with pytest.raises(SystemExit, match="20 individuals, 2 objectives: DEAP selects others"):
        selection.measure(20, 2, 1)


@pytest.fixture(scope="module")
def similarity_rows(small_fashion, tmp_path_factory):
    out = tmp_path_factory.mktemp("similarity-loss")
    done = run_script(
        "benchmarks/similarity_loss", "--quick", "--out", out, "--data-dir", small_fashion
    )
    assert done.returncode == 0, done.stderr
    assert (out / "similarity_loss.png").read_bytes().startswith(PNG)
    return read_table(out / "results.csv")


def test_the_similarity_loss_is_compared_in_every_setting(similarity_rows):
    names = {"TSNELoss, 1 thread", "TSNELoss, 2 threads", "scikit-learn, per child"}
    settings = {(row["children"], row["samples"], row["units"]) for row in similarity_rows}
    assert settings == {
        *(("1", "40", "16"), ("3", "40", "16"), ("3", "60", "16"), ("3", "40", "24"))
    }
    assert len(similarity_rows) == 3 * len(settings)
    assert {row["alternative"] for row in similarity_rows} == names


def test_the_similarity_losses_agree(similarity_rows):
    differences = [float(row["largest_relative_difference"]) for row in similarity_rows]
    assert min(differences) > 0
    assert max(differences) <= 1e-5
