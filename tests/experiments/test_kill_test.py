from tests.experiments.scripts import read_table, run_script


# The script has been seen to fail where random streams are not put back on resuming, and where one
# journal serves all saves.
def test_searches_are_the_same_after_ten_random_kills_and_one_at_every_step(tmp_path):
    done = run_script(
        *("reliability/kill_test", "--kills", 10, "--kinds", "masks"),
        *("--generations", 6, "--stepwise", 0, "--out", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    (row,) = read_table(tmp_path / "kills.csv")
    assert int(row["random_kills"]) >= 10
    assert row["same"] == row["searches"]
    assert int(row["steps_killed_at"]) > 10
    assert row["same_after_steps"] == row["steps_killed_at"]
