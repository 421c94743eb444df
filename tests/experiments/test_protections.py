"""The script that takes protections away, and the list of those that are no single ``raise``."""

import ast

import pytest

from tests.experiments.scripts import FOLDER, read_table, run_script


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER / "reliability"))
    import _changes
    import _removal

    return _changes, _removal


def test_every_change_finds_its_text_and_leaves_python(parts):
    changes, removal = parts
    for change, tests in changes.CHANGES:
        assert tests
        for file in {file for file, *_ in change.edits}:
            source = (removal.PACKAGE / file).read_text(encoding="utf-8")
            assert ast.unparse(ast.parse(change.made_in(file, source))) != ast.unparse(
                ast.parse(source)
            )
    change = removal.Change("x", (("errors.py", "no such text", ""),))
    with pytest.raises(ValueError, match="is 0 times in errors"):
        change.made_in("errors.py", "")


def test_statements_are_told_apart(parts):
    _, removal = parts
    found = removal.all_raises()
    assert len(found) > 300
    assert len({(one.file, one.number) for one in found}) == len(found)
    assert {one.handles for one in found} == {True, False}


def test_tests_of_faults_fail_without_what_protects(tmp_path):
    done = run_script("reliability/protections", "tests/runs/test_lock.py", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read_table(tmp_path / "protections.csv")
    assert len(rows) >= 3
    assert all(int(row["seen_to_fail"]) > 0 and row["without"] for row in rows)
