from tests.experiments.scripts import read_table, run_main


def test_it_measures_every_rate_with_every_number_of_samples(small_fashion, tmp_path):
    words = ("--seeds", 1, "--epochs", 1, "--data-dir", small_fashion, "--out", tmp_path)
    run_main("recalibration", *words)
    rows = read_table(tmp_path / "table.csv")
    assert len(rows) == 5 * 6
    parents = {row["accuracy"] for row in rows if float(row["rate"]) == 0}
    assert len(parents) == 1  # the parent keeps its own
    pruned = {row["accuracy"] for row in rows if row["rate"] == "0.5"}
    assert len(pruned) > 1
    assert (tmp_path / "table.md").read_text().count("\n") == 4 + 5
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
