from tests.experiments.scripts import read_table, run_main


def test_it_measures_every_importance_at_every_size(small_fashion, tmp_path):
    words = ("--seeds", 1, "--epochs", 1, "--parent-epochs", 1)
    run_main("importance", *words, "--data-dir", small_fashion, "--out", tmp_path)
    rows = read_table(tmp_path / "table.csv")
    assert len(rows) == 6 * 4
    assert all(int(row["param_count"]) <= int(row["size"]) for row in rows)
    for size in {row["size"] for row in rows}:
        own = [row for row in rows if row["size"] == size]
        assert len({row["widths"] for row in own}) == 1
        assert len({row["test_accuracy_before"] for row in own}) > 1
    assert any(row["test_accuracy"] != row["test_accuracy_before"] for row in rows)
    assert (tmp_path / "table.md").read_text().count("\n") == 4 + 6
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
