"""The script that proves torchvision's models, on a small one."""

from tests.experiments.scripts import read_table, run_script


def test_a_model_is_proven_and_its_row_written(tmp_path):
    done = run_script(
        "torchvision_models", "--models", "squeezenet1_0", "--genomes", "2", "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    (row,) = read_table(tmp_path / "results.csv")
    assert row["model"] == "squeezenet1_0"
    assert int(row["groups"]) == 25
    assert float(row["largest_difference"]) <= 1e-5 < float(row["least_change_from_parent"])
    assert "squeezenet1_0" in (tmp_path / "table.md").read_text()
