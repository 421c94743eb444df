"""Seen to fail without what protects: experiments/reliability/protections.py."""

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from deap import algorithms

from ecomp_deap.callbacks import Callback
from ecomp_deap.data import Splits
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.logbook import logbook_to_rows, statistics
from ecomp_deap.runs import checkpoints, description
from ecomp_deap.runs.recording import recorded
from ecomp_deap.runs.state import pack, unpack
from ecomp_deap.runs.store import FORMAT_VERSION, Store, seal
from ecomp_deap.search import Archive, compress, evolve
from ecomp_deap.search.loop import Watch
from ecomp_deap.toolbox import make_toolbox

GENERATIONS = 4
SMALL = {"population": 8, "generations": GENERATIONS, "finalise_count": 1, "finalise_epochs": 1}
KINDS = {
    "masks": ({}, {}),
    "masks, fixed": ({"selection": "spea2"}, {"evaluation": "fixed"}),
    "nsga3": ({"selection": "nsga3"}, {}),
    "widths": ({"genome": "width", "mutation": "mixed"}, {}),
    "trained": ({}, {"train_steps": 2}),
    "inherit": ({"mutation": "mixed"}, {"train_steps": 2, "inherit": True}),
    "limits": ({"selection": "tournament", "loss_weights": (1, 1, 1)}, {"max_params": 300}),
    "weights": ({"genome": "weights", "loss_weights": (1, 2, 1)}, {}),
    "weights, trained": ({"genome": "weights", "selection": "nsga2"}, {"train_steps": 1}),
}


class Killed(Exception):
    pass


class Spy(Callback):
    """Counts what it is told, and ends a search after a generation, before that is saved."""

    def __init__(self, last=None):
        self.last, self.generations, self.messages = last, [], []

    def on_generation(self, generation, n_generations, record):
        self.generations.append(generation)
        if generation == self.last:
            raise Killed

    def on_message(self, text):
        self.messages.append(text)


@pytest.fixture
def search(tiny_task, tmp_path):
    def run(kind="masks", *, last=None, spy=None, **options):
        own, of_task = KINDS[kind]
        options = {"checkpoint": tmp_path / "saves", "resume": True, "seed": 3, **options}
        spy = Spy(last) if spy is None else spy
        return compress(tiny_task(**of_task), **SMALL, **own, **options, callback=spy)

    return run


@pytest.fixture(params=["saved seldom", "saved always"])
def share(request, monkeypatch):
    if request.param == "saved always":
        monkeypatch.setattr(checkpoints, "_SHARE", np.inf)


@pytest.mark.parametrize("kind", KINDS)
def test_saving_changes_nothing(search, kind, tmp_path, share):
    untouched = search(kind, checkpoint=None, resume=False)
    saved = search(kind)
    assert saved.digest() == untouched.digest()
    assert saved.toolbox.counters == untouched.toolbox.counters
    # Whether finished or not: from the end of the search on, all is there again.
    again = search(kind, spy=(spy := Spy()))
    assert again.digest() == untouched.digest()
    assert spy.generations == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_search_is_the_same_to_the_last_bit(search, kind, tmp_path, share):
    untouched = search(kind, checkpoint=None, resume=False)
    for last in range(GENERATIONS + 1):
        shutil.rmtree(tmp_path / "saves", ignore_errors=True)
        with pytest.raises(Killed):
            search(kind, last=last)
        random.seed(last)  # whatever else was drawn in between
        np.random.seed(last)  # noqa: NPY002
        torch.manual_seed(last)
        resumed = search(kind)
        assert resumed.digest() == untouched.digest()
        assert resumed.training_samples == untouched.training_samples
        assert resumed.toolbox.counters == untouched.toolbox.counters
        assert len(resumed.generation_seconds) == GENERATIONS + 1
        assert [c.births for c in resumed.front] == [c.births for c in untouched.front]
        assert resumed.generation_hypervolumes == untouched.generation_hypervolumes


def test_a_search_can_be_killed_in_every_generation(search):
    untouched = search(checkpoint=None, resume=False)
    for last in range(GENERATIONS + 1):
        with pytest.raises(Killed):
            search(last=last)
    assert search().digest() == untouched.digest()


# Fails where saves come while a journal is replayed, and end it (seen so).
def test_what_was_measured_is_not_measured_again(search, monkeypatch):
    with pytest.raises(Killed):
        search(last=3)
    measured = []
    measure = Evaluator.measure
    monkeypatch.setattr(
        Evaluator, "measure", lambda self, *a, **k: measured.append(a[1]) or measure(self, *a, **k)
    )
    search()
    assert set(measured) == {4}


def test_the_logbook_is_the_one_that_deap_keeps(tiny_task):
    result = compress(tiny_task(), **SMALL, seed=3)
    toolbox = make_toolbox(tiny_task(), seed=3)
    _, logbook = algorithms.eaMuPlusLambda(
        toolbox.population(n=8),
        toolbox,
        *(8, 8, 0.7, 0.3, GENERATIONS),
        stats=statistics(),
        halloffame=Archive(),
        verbose=False,
    )
    assert logbook_to_rows(result.logbook) == logbook_to_rows(logbook)
    assert result.logbook.header == logbook.header


def test_a_folder_with_a_search_is_not_written_over(search, tmp_path):
    with pytest.raises(Killed):
        search(last=2)
    with pytest.raises(DataError, match="resume=True goes on with it"):
        search(resume=False)


def test_resuming_takes_a_folder(search):
    with pytest.raises(ArgumentError, match="resume: expected False without a checkpoint"):
        search(checkpoint=None)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"seed": 4}, ["seed: saved with 3, given 4"]),
        ({"kind": "widths"}, ["genome: saved with 'EcompMaskGenome"]),
        ({"kind": "masks, fixed"}, ["task.evaluation", "toolbox.select"]),
        ({"importance": "l2"}, ["importance: saved with 'l1', given 'l2'"]),
        ({"crossover_rate": 0.1}, ["evolve.rates: saved with [0.7, 0.3], given [0.1, 0.9]"]),
    ],
)
def test_another_search_is_refused_field_by_field(search, change, fields):
    with pytest.raises(Killed):
        search(last=2)
    with pytest.raises(DataError, match="is of another search") as error:
        search(**change)
    for field in fields:
        assert field in str(error.value)


def test_another_parent_or_other_data_are_refused(tiny_task, tiny_splits, tmp_path):
    options = {**SMALL, "checkpoint": tmp_path / "saves", "resume": True}
    compress(tiny_task(), **options)
    task = tiny_task()
    with torch.no_grad():
        task.parent[0].weight[0, 0] += 1
    with pytest.raises(DataError, match="another search: parent: saved with"):
        compress(task, **options)
    other = Splits(tiny_splits.search, tiny_splits.test, tiny_splits.test, name="other")
    with pytest.raises(DataError, match=r"another search: data\.validation: saved with"):
        compress(replace(tiny_task(), data=other), **options)


def test_a_damaged_save_is_named_and_the_one_before_taken(search, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SHARE", np.inf)
    untouched = search(checkpoint=None, resume=False)
    with pytest.raises(Killed):
        search(last=3)
    path = tmp_path / "saves" / "000002" / "state.json"
    path.write_bytes(path.read_bytes()[:-1])
    resumed = search(spy=(spy := Spy()))
    assert resumed.digest() == untouched.digest()
    assert str(path) in spy.messages[0]
    assert "going on from generation 1" in spy.messages[0]


def test_where_all_saves_are_damaged_there_is_no_fresh_start(search, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SHARE", np.inf)
    with pytest.raises(Killed):
        search(last=3)
    paths = sorted((tmp_path / "saves").glob("0*/state.json"))
    assert len(paths) == 2
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="all saves are damaged") as error:
        search()
    for path in paths:
        assert str(path) in str(error.value)


def test_a_damaged_journal_costs_time_alone(search, tmp_path):
    untouched = search(checkpoint=None, resume=False)
    with pytest.raises(Killed):
        search(last=3)
    (path,) = (tmp_path / "saves").glob("*.journal")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert search(spy=(spy := Spy())).digest() == untouched.digest()
    assert "what follows is dropped" in spy.messages[0]
    shutil.rmtree(tmp_path / "saves")
    with pytest.raises(Killed):
        search(last=3)
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    assert search(spy=(spy := Spy())).digest() == untouched.digest()
    assert "begun anew" in spy.messages[0]


def test_a_journal_of_a_newer_format_is_refused_and_left(search, tmp_path):
    with pytest.raises(Killed):
        search(last=2)
    (path,) = (tmp_path / "saves").glob("*.journal")
    header = {"after": "", "format": "ecomp_deap.journal", "format_version": FORMAT_VERSION + 1}
    path.write_bytes(seal(header))
    with pytest.raises(DataError, match="newer than format"):
        search()
    assert path.read_bytes() == seal(header)


def test_attributes_that_users_gave_individuals_come_back(tiny_task, tmp_path):
    def run(spy, value=1.5):
        toolbox = make_toolbox(tiny_task())
        seen = []

        def mutate(individual, function=toolbox.mutate):
            seen.append(getattr(individual, "age", None))
            individual.age = value
            return function(individual)

        toolbox.register("mutate", mutate)
        options = {**SMALL, "checkpoint": tmp_path / "saves", "resume": True}
        return evolve(toolbox, **options, callback=spy), seen

    with pytest.raises(Killed):
        run(Spy(3))
    assert 1.5 in run(Spy())[1]
    shutil.rmtree(tmp_path / "saves")
    with pytest.raises(ArgumentError, match="attribute 'age' of an individual: expected a number"):
        run(Spy(), value=object())


def test_other_versions_are_told_of(search, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        search(last=2)
    found = {**description.versions(), "torch": "9.9"}
    monkeypatch.setattr(description, "versions", lambda: found)
    search(spy=(spy := Spy()))
    assert "going on with 9.9: figures may differ" in spy.messages[0]


def test_saves_are_plain_json_and_tensors(search, tmp_path):
    search("inherit")
    save, _ = Store(tmp_path / "saves").newest()
    assert sorted(save.files) == ["arrays.safetensors", "search.json", "state.json"]
    assert json.loads(save.files["state.json"])["generation"] == GENERATIONS


LOOPS = {
    "eaMuPlusLambda": lambda pop, box: algorithms.eaMuPlusLambda(
        pop, box, 8, 8, 0.7, 0.3, GENERATIONS, verbose=False
    ),
    "eaMuCommaLambda": lambda pop, box: algorithms.eaMuCommaLambda(
        pop, box, 8, 16, 0.7, 0.3, GENERATIONS, verbose=False
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", ["masks", "trained", "inherit"])
def test_any_loop_is_replayed_from_a_journal(tiny_task, tmp_path, loop, kind):
    def run(n_measured):
        """Kill the search at its n-th measuring; return what it ended with."""
        own, of_task = KINDS[kind]
        toolbox = make_toolbox(tiny_task(**of_task), **own, seed=3, engine="batched", threads=1)
        measure, calls = toolbox.evaluator.measure, []

        def killing(*args, **options):
            calls.append(args)
            if len(calls) > n_measured:
                raise Killed
            return measure(*args, **options)

        toolbox.evaluator.measure = killing
        with recorded(toolbox, tmp_path / "search.journal"):
            population, logbook = LOOPS[loop](toolbox.population(n=8), toolbox)
        return [i.key() for i in population], logbook_to_rows(logbook), len(calls)

    *untouched, n_calls = run(100)
    (tmp_path / "search.journal").unlink()
    n_killed = 0
    for n in range(1, n_calls):
        with pytest.raises(Killed):
            run(n if kind == "inherit" else 1)
        n_killed += 1
    *replayed, n_last = run(100)
    assert replayed == untouched
    # Those that keep what they learnt are measured anew, and compared.
    assert n_last == (n_calls if kind == "inherit" else n_calls - n_killed)


def test_a_journal_of_another_search_is_refused(tiny_task, tmp_path):
    path = tmp_path / "search.journal"

    def run(toolbox):
        with recorded(toolbox, path):
            return LOOPS["eaMuPlusLambda"](toolbox.population(n=8), toolbox)

    run(make_toolbox(tiny_task(), seed=3))
    with pytest.raises(DataError, match="another search: seed: saved with 3, given 4"):
        run(make_toolbox(tiny_task(), seed=4))
    toolbox = make_toolbox(tiny_task(), seed=3)
    with recorded(toolbox, path), pytest.raises(DataError, match="genome of child 0 is another"):
        algorithms.eaMuPlusLambda(toolbox.population(n=9)[1:], toolbox, 8, 8, 0.7, 0.3, 1)


def test_a_search_is_recorded_from_its_start_and_once(tiny_task, tmp_path):
    toolbox = make_toolbox(tiny_task(), seed=3)
    with recorded(toolbox, tmp_path / "a.journal"):
        with (
            pytest.raises(ArgumentError, match=r"toolbox: expected a new one, .* is recorded"),
            recorded(toolbox, tmp_path / "b.journal"),
        ):
            pass
        LOOPS["eaMuPlusLambda"](toolbox.population(n=8), toolbox)
    with (
        pytest.raises(ArgumentError, match=r"toolbox: expected a new one, .* in use"),
        recorded(toolbox, tmp_path / "b.journal"),
    ):
        pass
    assert not (tmp_path / "b.journal").exists()


def test_a_journal_finds_out_that_measurements_changed(tiny_task, tmp_path):
    path = tmp_path / "search.journal"

    def run(task):
        toolbox = make_toolbox(task, seed=3, engine="batched", threads=1)
        with recorded(toolbox, path):
            return LOOPS["eaMuPlusLambda"](toolbox.population(n=8), toolbox)

    task = tiny_task(train_steps=1, inherit=True)
    run(task)
    toolbox = make_toolbox(task, seed=3, engine="batched", threads=1)
    measure = toolbox.evaluator.measure

    def otherwise(*args, **options):
        outcomes = measure(*args, **options)
        found = replace(outcomes[0].measurement, metric=0.125)
        return [replace(outcomes[0], measurement=found), *outcomes[1:]]

    toolbox.evaluator.measure = otherwise
    with recorded(toolbox, path), pytest.raises(DataError, match="were measured otherwise"):
        LOOPS["eaMuPlusLambda"](toolbox.population(n=8), toolbox)


def test_another_search_is_refused_before_anything_is_saved(search, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "save", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        search()
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "saves").glob("*.journal")] == ["start.journal"]
    with pytest.raises(DataError, match="another search: seed: saved with 3, given 4"):
        search(seed=4)
    assert search().digest() == search(checkpoint=None, resume=False).digest()


def test_a_choice_by_timing_is_kept(tiny_task, tmp_path, monkeypatch):
    """The engine that was chosen before a search was killed is used after it."""
    from ecomp_deap.evaluation import evaluator

    def run(engine, spy):
        monkeypatch.setattr(evaluator, "faster_route", lambda *_: engine)
        task = tiny_task(forward=lambda module, inputs: module(inputs))
        options = {**SMALL, "checkpoint": tmp_path / "saves", "resume": True}
        return compress(task, **options, callback=spy)

    with pytest.raises(Killed):
        run("masked", Spy(0))
    assert run("loop", Spy()).toolbox.evaluator.engine == "masked"


def test_arrays_of_no_dimension_keep_their_shape(tiny_task):
    toolbox = make_toolbox(tiny_task(train_steps=1, inherit=True))
    individual = toolbox.population(n=1)[0]
    (individual.fitness.values,) = toolbox.map(toolbox.evaluate, [individual])
    watch = Watch(toolbox, [individual], 1, Callback())
    watch.compile([individual])
    individual.rebind(individual.masks, {"count": np.array(3), "weight": np.eye(3)[:, :2]})
    (found,) = unpack(pack(watch.state()), toolbox).population
    assert found.key() == individual.key()
    assert found.arrays["count"].shape == ()
