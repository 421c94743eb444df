from tests.experiments.scripts import read_table, run_script


# Seen to fail with `measurement_of` taking any name of a metric, by a KeyError, and before files
# were looked through with most loaders.
def test_ten_thousand_changed_files_are_loaded_or_refused(tmp_path):
    done = run_script("reliability/fuzz", "--inputs", 10_000, "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_table(tmp_path / "fuzz.csv")
    assert sum(int(row["inputs"]) for row in rows) >= 9_990
    # A loader that takes everything, or refuses everything it could take, is not tested.
    assert all(int(row["refused"]) > 0 for row in rows)
    unsealed = [row for row in rows if row["loader"].startswith(("save's", "load_child"))]
    assert sum(int(row["loaded"]) > 0 for row in rows) > len(rows) - len(unsealed)


def test_flipped_bits_of_a_save_are_found(tmp_path):
    done = run_script(*("reliability/damage", "--flips", 30, "--megabytes", 0.2, "--out", tmp_path))
    assert done.returncode == 0, done.stderr
    rows = {row["file"]: row for row in read_table(tmp_path / "damage.csv")}
    assert sum(int(row["flips"]) for name, row in rows.items() if name != "none") == 30
    assert all(row["found"] == row["flips"] for name, row in rows.items() if name != "none")
    assert int(rows["none"]["found"]) == 0
