from tests.experiments.scripts import read_table, run_script


def test_a_search_whose_workers_are_killed_leaves_nothing_and_is_the_same(tmp_path):
    done = run_script(
        *("reliability/worker_kills", "--kinds", "processes", "--workers", 2, "--evaluations", 60),
        *("--kills", 2, "--every", 2, "--out", tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_table(tmp_path / "worker_kills.csv")
    assert (row["same"], row["blamed"], row["processes_left"]) == ("True", "0", "0")
    assert row["evaluations"] == row["evaluations_expected"]
    # One that is killed while it starts has nothing that could be lost.
    assert 0 < int(row["lost"]) <= int(row["kills"])
