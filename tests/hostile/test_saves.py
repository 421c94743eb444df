"""Saves and journals with the right sums and the wrong content: refused, and nothing is run.

Whoever can write a save can also write its sums, so that these prove nothing here. Each case was
seen to raise another error, or to be taken, before `runs/shapes.py` was there.

Seen to fail without what protects: experiments/reliability/protections.py.
"""

import copy
import json

import pytest

from ecomp_deap import Callback, compress
from ecomp_deap.errors import DataError, EcompError
from ecomp_deap.runs.journal import Journal
from ecomp_deap.runs.recording import recorded
from ecomp_deap.runs.state import unpack
from ecomp_deap.runs.store import Store, seal
from ecomp_deap.toolbox import make_toolbox

OPTIONS = {"population": 6, "generations": 2, "finalise_count": 0, "seed": 3}


class Stop(Callback):
    def on_generation(self, generation, n_generations, record):
        if generation == 2:
            raise KeyboardInterrupt


@pytest.fixture
def saved(tiny_task, tmp_path, monkeypatch):
    monkeypatch.setattr("ecomp_deap.runs.checkpoints._SHARE", float("inf"))
    folder = tmp_path / "saves"
    with pytest.raises(KeyboardInterrupt):
        compress(tiny_task(), **OPTIONS, checkpoint=folder, callback=Stop())
    save, _ = Store(folder).newest()
    for journal in folder.glob("*.journal"):
        journal.unlink()
    return folder, save


def changed(content, path, value):
    content = copy.deepcopy(content)
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return content


FIRST = ("individuals", 0)
HOSTILE = [
    *[(("generation",), value) for value in ("x", None, [], {}, -5, 10**9, True, 1.0)],
    *[(("records",), value) for value in ("x", [], {}, [{}], [5], None)],
    *[((name,), value) for name in ("seconds", "hypervolumes") for value in (None, -5, "x", ["x"])],
    *[(("latency_ms",), value) for value in (None, "x", [{}], [{"min": "x"}])],
    *[(("worst",), value) for value in ("x", {}, [1.0], ["x", 1.0])],
    *[((name,), []) for name in ("population", "first")],
    *[(("population",), [value]) for value in (-1, 10**6, "x", None, 1.5)],
    *[(("toolbox",), value) for value in ("x", None, -5, [], {})],
    *[(("toolbox", "generation"), value) for value in ("x", -9, 7)],
    *[(("toolbox", "n_measured"), value) for value in ("x", -1, None)],
    *[(("toolbox", "counters"), value) for value in ({"zz": 1}, [], {"evaluations": "x"})],
    *[
        (("random",), value)
        for value in (
            *([3, [1, 2], None], [9, [0] * 625, None], [3, [2**40] * 625, None]),
            *([3, [0] * 624 + [9999], None], [3, ["x"] * 625, None], "x", None),
        )
    ],
    *[
        (("numpy_random",), value)
        for value in (
            *(["MT19937", [1], 0, 0, 0.0], ["MT19937"], ["X", [0] * 624, 0, 0, 0.0]),
            *(["MT19937", [0] * 624, 10**6, 0, 0.0], ["MT19937", [0] * 624, 0, 0, "x"]),
            *(["MT19937", [2**40] * 624, 0, 0, 0.0], ["MT19937", [0] * 624, "x", 0, 0.0]),
        )
    ],
    *[((*FIRST, "fitness"), value) for value in ([1], ["a", "b"], "x", 5, [1e400, 1.0])],
    *[((*FIRST, "batch"), value) for value in ("x", [], 1.5)],
    *[((*FIRST, "crowding"), value) for value in ("x", [])],
    *[((*FIRST, "measurement"), value) for value in (-1, True, 10**6, "x", None)],
    *[
        ((*FIRST, "attributes"), {name: 5})
        for name in (
            *("fitness", "_key", "key", "measurement", "_masks", "plain", "rebind", "batch"),
            *("__deepcopy__", "__class__", "__dict__", "widths", "arrays"),
        )
    ],
    *[((*FIRST, "attributes"), value) for value in (5, [1], {"mine": [1]}, {"mine": {}})],
    *[
        ((*FIRST, "genome"), {"masks": masks})
        for masks in (
            *([], [[10**12, "00"]], [[10**30, "00"]], [[-1, "00"]], "x", [5], None),
            *([[4, "ff"], [12, "ffff"]], [[16, "zz"], [12, "ffff"]], [[16, "ff"], [12, "ffff"]]),
            *([[16, "0000"], [12, "ffff"]], [["x", "ff"]], [[16, 5], [12, "ffff"]]),
        )
    ],
    *[((*FIRST, "genome"), value) for value in ({}, [], None, {"widths": [3, 3]}, {"layers": 5})],
    *[
        (("measurements", 0, "metric"), value)
        for value in (10**400, "x", None, [], True, float("nan"), float("inf"))
    ],
    *[(("measurements", 0, "param_count"), value) for value in (10**400, 1.5, -1)],
    *[(("measurements", 0, "failed"), value) for value in ("x", [], 1)],
    *[(("measurements", 0, "reason"), value) for value in (5, [])],
    *[(("measurements", 0, "metric_name"), value) for value in ([], "param_count", "x")],
    *[(("measurements", 0), value) for value in ({}, 5, None, [])],
]


def resume(tiny_task, folder):
    return compress(tiny_task(), **OPTIONS, checkpoint=folder, resume=True)


def test_a_sound_save_is_taken(saved, tiny_task):
    folder, save = saved
    Store(folder).save(save.number, save.files)
    assert len(resume(tiny_task, folder).logbook) == 3


def test_a_save_of_wrong_content_is_refused(saved, tiny_task):
    _, save = saved
    toolbox = make_toolbox(tiny_task(), seed=OPTIONS["seed"])
    content = json.loads(save.files["state.json"])
    assert unpack(save.files, toolbox).generation == save.number
    for path, value in HOSTILE:
        text = json.dumps(changed(content, path, value)).encode()
        with pytest.raises(DataError, match=r"a save holds no state of a search: .") as found:
            unpack({**save.files, "state.json": text}, toolbox)
        assert len(str(found.value)) < 300, path


def test_a_save_of_another_generation_is_refused(saved, tiny_task):
    folder, save = saved
    Store(folder).save(save.number + 1, save.files)
    with pytest.raises(DataError, match=r"save 2 holds generation 1"):
        resume(tiny_task, folder)


@pytest.mark.parametrize(
    "text", [b"", b"[" * 100_000, b"5", b"\xff", b"null", b'{"generation": 1' + b"0" * 5000 + b"}"]
)
@pytest.mark.parametrize("name", ["state.json", "search.json", "arrays.safetensors"])
def test_a_file_that_is_none_is_refused(saved, tiny_task, name, text):
    folder, save = saved
    Store(folder).save(save.number, {**save.files, name: text})
    with pytest.raises(DataError):
        resume(tiny_task, folder)


@pytest.mark.parametrize("field", ["engine", "threads", "search", "versions"])
@pytest.mark.parametrize("value", ["x", None, 5.5, -1])
def test_an_identity_of_wrong_types_is_refused(saved, tiny_task, field, value):
    folder, save = saved
    identity = {**json.loads(save.files["search.json"]), field: value}
    Store(folder).save(save.number, {**save.files, "search.json": json.dumps(identity).encode()})
    with pytest.raises(EcompError):
        resume(tiny_task, folder)


def journal_of(tiny_task, path):
    toolbox = make_toolbox(tiny_task(), seed=1)
    with recorded(toolbox, path):
        list(toolbox.map(toolbox.evaluate, toolbox.population(n=4)))


@pytest.mark.parametrize(
    "found",
    [
        *([{}], [5], [None], [[1]], "x", {"a": 1}, 7, None, []),
        *({"metric": "x"}, {"metric": 10**400}, {"metric": None}, {"failed": "x"}, {"z": 1}),
        *({"reason": 5}, {"metric_name": []}, {"metric_name": "param_count"}, {"metric_name": "x"}),
    ],
)
def test_a_line_of_wrong_measurements_is_refused(tiny_task, tmp_path, found):
    path = tmp_path / "search.journal"
    journal_of(tiny_task, path)
    before = Journal(path)
    before.close()
    lines = before.lines
    if isinstance(found, dict) and set(found) != {"a"}:
        found = [{**row, **found} for row in lines[1]["found"]]
    path.unlink()
    journal = Journal(path)
    journal.append(lines[0])
    journal.append({**lines[1], "found": found})
    journal.close()
    with pytest.raises(DataError, match=r"search\.journal: "):
        journal_of(tiny_task, path)


@pytest.mark.parametrize("version", ["x", None, -1, 1.5, True, [], 10**400])
def test_a_header_of_no_version_is_refused(tmp_path, version):
    path = tmp_path / "search.journal"
    header = {"after": "", "format": "ecomp_deap.journal", "format_version": version}
    path.write_bytes(seal(header))
    with pytest.raises(DataError, match=r"search\.journal: "):
        Journal(path)
