import pytest

from tests.experiments.benchmarks import load, pictures, rows_of, run_benchmark
from tests.experiments.scripts import FOLDER

# It starts processes of its own, whose pipes are closed when the script's process ends.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("workers")
    run_benchmark("workers", "--quick", "--kinds", "processes", "--out", out)
    return out


def test_what_a_job_costs_and_workers_gain_is_measured(results):
    found = {row["what"] for row in rows_of(results)}
    assert found == {
        *("overhead, processes", "gain of two processes", "driver, blocks of 25"),
        "driver, blocks of 1",
    }
    assert pictures(results) == ["driver.png"]


def test_a_plan_is_simulated_from_what_was_measured(tmp_path):
    measured = FOLDER / "results" / "benchmarks" / "workers" / "results.csv"
    run_benchmark("scaling", "--results", measured, "--out", tmp_path)
    for row in rows_of(tmp_path):
        # No more than all workers, and no more than the driver can hand out.
        assert float(row["speedup"]) <= int(row["workers"]) * (1 + 1e-9)
        assert float(row["driver_busy"]) <= 1 + 1e-9
    assert pictures(tmp_path) == ["scaling.png"]


@pytest.mark.parametrize(("n", "n_workers", "expected"), [(6, 2, 3.0), (6, 6, 1.0), (1, 9, 1.0)])
def test_without_costs_a_generation_is_its_longest_queue(n, n_workers, expected):
    found = load("scaling").generation_s(n, n_workers, 1.0, driver_s=0.0, job_s=0.0)
    assert found == expected


def test_what_the_driver_and_jobs_take_is_added():
    found = load("scaling").generation_s(1, 5, 1.0, driver_s=0.5, job_s=0.25)
    assert found == 1.75
