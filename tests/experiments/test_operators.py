from tests.experiments.scripts import load, read_table, run_main


def test_it_searches_by_every_way_with_every_seed(small_fashion, tmp_path):
    words = ("--seeds", 2, "--population", 8, "--generations", 1, "--parent-epochs", 1)
    run_main("operators", *words, "--data-dir", small_fashion, "--out", tmp_path)
    rows = read_table(tmp_path / "table.csv")
    settings = load("operators").SETTINGS
    assert len(rows) == 2 * sum(len(variations) for _, variations in settings.values())
    assert all(0 < float(row["hypervolume"]) < 2.7 for row in rows)
    text = (tmp_path / "table.md").read_text()
    assert all(f"| {name} |" in text for _, ways in settings.values() for name in ways)
    assert (tmp_path / "hypervolume.png").stat().st_size > 10_000
