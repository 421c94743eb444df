"""`eaSteadyState` against an obvious twin, and with workers that differ, end or never come back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from deap import algorithms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecomp_deap import (
    ArgumentError,
    Callback,
    EvaluationError,
    SelectionError,
    compress,
    eaSteadyState,
    evolve,
    make_toolbox,
    recorded,
    statistics,
    watched,
)
from ecomp_deap.operators import selNSGA2
from tests.evaluation.workers.scripted import Scripted

SIZE, GENERATIONS = 12, 4
RATES = {"cxpb": 0.6, "mutpb": 0.3}  # a tenth would be copies


def searched(toolbox, population=None, loop=eaSteadyState, **options):
    """Return what a search ends with, in plain values, and its logbook."""
    population = toolbox.population(n=SIZE) if population is None else population
    population, logbook = loop(
        *(population, toolbox),
        **{**RATES, "ngen": GENERATIONS, "stats": statistics(), "verbose": False, **options},
    )
    return [(i.key(), i.fitness.values) for i in population], logbook


def twin(population, toolbox, cxpb, mutpb, ngen, stats, verbose):
    """A (mu + 1) loop in plain DEAP, one child after the other."""
    for individual, values in zip(
        population, toolbox.map(toolbox.evaluate, population), strict=True
    ):
        individual.fitness.values = values
    records = [stats.compile(population)]
    for _ in range(ngen):
        toolbox.begin()
        known = [individual.key() for individual in population]
        for _ in population:
            for _ in range(11):  # the last one is taken, whatever it is
                (child,) = algorithms.varOr(population, toolbox, 1, cxpb, mutpb)
                learnt = getattr(child, "arrays", None) is not None  # which differs in any case
                if not child.fitness.valid and (learnt or child.key() not in known):
                    break
            assert not child.fitness.valid
            known.append(child.key())
            child.fitness.values = toolbox.evaluate(child)
            population[:] = toolbox.select([*population, child], len(population))
        records.append(stats.compile(population))
    return population, records


def without_counts(logbook):
    return [
        {name: {k: v for k, v in chapter[i].items() if k not in ("gen", "nevals")}
         for name, chapter in logbook.chapters.items()}
        for i in range(len(logbook))
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{}, {"train_steps": 1}, {"train_steps": 1, "inherit": True}, {"max_params": 250}],
    ids=str,
)
@pytest.mark.parametrize("genome", ["mask", "width"])
def test_without_workers_it_is_the_plain_loop(tiny_task, options, genome):
    if genome == "width" and "inherit" in options:
        pytest.skip("widths carry nothing that could be inherited")

    def toolbox():
        return make_toolbox(tiny_task(evaluation="fixed", **options), seed=3, genome=genome)

    found, logbook = searched(toolbox(), block_size=1)
    expected, records = searched(toolbox(), loop=twin)
    assert found == expected
    assert without_counts(logbook) == records
    assert logbook.select("nevals") == [SIZE] * (GENERATIONS + 1)


@pytest.mark.parametrize("block_size", [1, 5, None, 100])
@pytest.mark.parametrize("evaluation", ["fixed", "fresh"])
def test_same_seed_same_search_without_workers(tiny_task, evaluation, block_size):
    found = [
        searched(
            make_toolbox(tiny_task(evaluation=evaluation, train_steps=1), seed=7),
            block_size=block_size,
        )[0]
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert len(found[0]) == SIZE


def select_the_comparable(individuals, k):
    """Select as NSGA-II does, if all have been scored on one batch."""
    assert len({individual.batch for individual in individuals}) == 1
    assert all(individual.fitness.valid for individual in individuals)
    assert len(individuals) > k
    return selNSGA2(individuals, k)


@pytest.mark.parametrize("inherit", [False, True])
def test_only_figures_of_one_batch_are_compared(tiny_task, inherit):
    toolbox = make_toolbox(tiny_task(train_steps=1, inherit=inherit), seed=2)
    toolbox.register("select", select_the_comparable)
    seen = []

    class Looking:
        fields = ()

        def compile(self, population):
            seen.append({individual.batch for individual in population})
            return {}

    searched(toolbox, stats=Looking())
    assert seen == [{toolbox.evaluator.batch_id(n)} for n in range(GENERATIONS + 1)]
    # Each of the population once a generation, whoever that is by then.
    assert toolbox.counters.rescored == GENERATIONS * SIZE
    assert toolbox.counters.evaluations == (2 * GENERATIONS + 1) * SIZE
    steps = GENERATIONS * (1 if inherit else 2) + 1
    assert toolbox.counters.training_samples == steps * SIZE * 30


# Not before one has answered, and not so many that one child could be blamed.
FATES = st.dictionaries(st.integers(9, 60), st.sampled_from(["alone", "all", "cancel"]), max_size=4)


@given(fates=FATES, seed=st.integers(0, 99), evaluation=st.sampled_from(["fixed", "fresh"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_whatever_becomes_of_workers_each_child_counts_once(tiny_task, fates, seed, evaluation):
    workers = Scripted(lambda n, genomes: fates.get(n, "answer"))
    toolbox = make_toolbox(tiny_task(evaluation=evaluation), seed=seed, workers=workers)
    toolbox.register("select", select_the_comparable)
    found, logbook = searched(toolbox, block_size=2)
    assert len(found) == SIZE
    assert sum(logbook.select("nevals")) == (GENERATIONS + 1) * SIZE
    counters = toolbox.counters
    once = counters.evaluations + counters.duplicates - counters.rescored
    assert (once, counters.failed) == ((GENERATIONS + 1) * SIZE, 0)


# Workers are threads here, so that a child can wait for what happens in a test.
BEGUN, SLOW, CALLS = threading.Event(), threading.Event(), []


def is_child(module):
    return sum(p.numel() for p in module.parameters()) < 451  # of the parent


def one_waits(module, inputs):
    """Let one child of those after the first population wait until it is released."""
    if (
        is_child(module)
        and threading.current_thread() is not threading.main_thread()
        and BEGUN.is_set()
    ):
        CALLS.append(module)
        if len(CALLS) == 1 and not SLOW.wait(timeout=60):
            raise TimeoutError
    return module(inputs)


def test_no_worker_waits_for_a_child_that_takes_longer(tiny_task):
    back = []

    class Watching(Callback):
        def on_generation(self, generation, n_generations, record):
            BEGUN.set()
            back.append(len(CALLS))
            if generation == 2:  # two generations, while that one child was waited for
                SLOW.set()

    task = tiny_task(forward=one_waits, evaluation="fixed")
    with ThreadPoolExecutor(2) as executor:
        toolbox = make_toolbox(task, engine="loop", seed=1, workers=executor)
        with watched(toolbox, callback=Watching()) as watch:
            searched(toolbox, stats=watch, block_size=1)
    assert back[0] == 0
    assert back[2] >= 2 * SIZE
    assert sum(watch.logbook.select("nevals")) == (GENERATIONS + 1) * SIZE


def one_of_the_first_waits(module, inputs):
    """Let one child take its time when it is scored again."""
    if is_child(module) and threading.current_thread() is not threading.main_thread():
        CALLS.append(module)
        if len(CALLS) == SIZE + 1:
            SLOW.wait(timeout=1.5)
    return module(inputs)


def test_no_generation_is_bred_from_figures_that_wait(tiny_task):
    CALLS.clear()
    SLOW.clear()
    task = tiny_task(forward=one_of_the_first_waits, probe_layers=[])
    with ThreadPoolExecutor(2) as executor:
        toolbox = make_toolbox(
            task, engine="loop", seed=1, workers=executor, objectives=("accuracy", "param_count")
        )
        _, logbook = searched(toolbox, ngen=30, block_size=1)
    # Of one generation at most, and what was on its way besides.
    assert max(logbook.select("nevals")) <= 2 * SIZE
    assert min(logbook.select("nevals")) >= 1
    assert sum(logbook.select("nevals")) == 31 * SIZE


def test_a_population_has_no_one_twice_though_few_are_sound(tiny_task):
    failing = []

    def mostly_fails(module, inputs):
        if failing and is_child(module) and sum(p.numel() for p in module.parameters()) % 5:
            raise RuntimeError("no luck")
        return module(inputs)

    toolbox = make_toolbox(tiny_task(forward=mostly_fails), engine="loop", seed=1)
    population = toolbox.population(n=SIZE)
    list(zip(population, toolbox.map(toolbox.evaluate, population), strict=True))
    failing.append(1)
    toolbox._n_first = 10**6  # however many fail
    for individual in population:
        individual.fitness.values = toolbox.fitness.values(individual.measurement)
    eaSteadyState(population, toolbox, **RATES, ngen=6, verbose=False, block_size=1)
    assert len({id(individual) for individual in population}) == len(population)
    assert sum(individual.measurement.failed for individual in population) <= 1


def test_what_is_stopped_leaves_workers_to_the_next_search(tiny_task):
    def toolbox():
        return make_toolbox(tiny_task(evaluation="fixed"), seed=4, workers=workers, block_size=3)

    with ThreadPoolExecutor(2) as workers:
        with watched(toolbox(), stop=[lambda progress: "enough"]) as watch:
            searched(toolbox(), stats=watch)
        expected = searched(
            make_toolbox(tiny_task(evaluation="fixed"), seed=4, block_size=3),
            loop=algorithms.eaMuPlusLambda, mu=SIZE, lambda_=SIZE, cxpb=0.7, mutpb=0.3,
        )  # fmt: skip
        found = searched(
            toolbox(), loop=algorithms.eaMuPlusLambda, mu=SIZE, lambda_=SIZE, cxpb=0.7, mutpb=0.3
        )
    assert watch.stopped == "enough"
    assert found == expected


def test_jobs_that_no_one_waits_for_are_dropped(tiny_task):
    class Dropping(Scripted):
        dropped = 0

        def drop(self, future):
            self.dropped += 1

    # Nothing after the first generation is ever answered, but for one child of the second.
    workers = Dropping(lambda n, genomes: "answer" if n < 20 else "hang")
    toolbox = make_toolbox(tiny_task(evaluation="fixed"), seed=4, workers=workers, block_size=4)
    stream = toolbox.stream(iter([[i] for i in toolbox.population(n=30)]))
    next(stream)
    assert workers.dropped == 0
    flying = workers.depth * workers.n_workers - 1
    stream.close()
    assert workers.dropped <= flying
    assert workers.dropped + sum(fate == "answer" for *_, fate in workers.sent) >= flying


def test_too_many_failures_end_it(tiny_task):
    begun = []

    def fails(module, inputs):
        if begun and is_child(module):
            raise RuntimeError("no luck")
        return module(inputs)

    toolbox = make_toolbox(tiny_task(forward=fails, evaluation="fixed"), engine="loop", seed=1)
    toolbox.decorate(
        "mate", lambda mate: lambda *mates, **options: begun.append(1) or mate(*mates, **options)
    )
    with pytest.raises(EvaluationError, match=r"generation 1: 7 of \d+ children .*no luck"):
        searched(toolbox, block_size=1)


def test_it_can_be_gone_on_with(tiny_task, tmp_path, monkeypatch):
    monkeypatch.setattr("ecomp_deap.runs.checkpoints._SHARE", 1e9)  # after each generation

    class Ends(Callback):
        def on_generation(self, generation, n_generations, record):
            if generation == 2:
                raise KeyboardInterrupt

    options = {
        "steady_state": True, "generations": GENERATIONS, "finalise_count": 0,
    }  # fmt: skip
    for population, evaluation in ((SIZE, "fixed"), (SIZE, "fresh"), (13, "fresh"), (30, "fixed")):
        options["population"] = population
        folder = tmp_path / f"{evaluation}-{population}"

        def toolbox(evaluation=evaluation):
            return make_toolbox(tiny_task(evaluation=evaluation), seed=6, block_size=7)

        expected = evolve(toolbox(), **options)
        with pytest.raises(KeyboardInterrupt):
            evolve(toolbox(), **options, checkpoint=folder, callback=Ends())
        assert not list(folder.glob("*.journal"))  # it could not be replayed
        # Without workers none is on its way when it is saved, so that it is the same.
        gone_on = evolve(toolbox(), **options, checkpoint=folder, resume=True)
        assert gone_on.digest() == expected.digest()
        assert asdict(gone_on.toolbox.counters) == asdict(expected.toolbox.counters)


def test_a_search_of_the_other_kind_is_not_gone_on_with(tiny_task, tmp_path):
    options = {"population": SIZE, "generations": 2, "finalise_count": 0}
    evolve(make_toolbox(tiny_task()), **options, checkpoint=tmp_path, steady_state=True)
    with pytest.raises(ArgumentError.__mro__[1], match=r"evolve\.steady_state: saved with True"):
        evolve(make_toolbox(tiny_task()), **options, checkpoint=tmp_path, resume=True)


def test_by_processes_it_is_a_search_like_any_other(tiny_task):
    found = compress(
        tiny_task(train_steps=1), steady_state=True, workers=2, population=SIZE,
        generations=GENERATIONS, finalise_count=1, finalise_epochs=1,
    )  # fmt: skip
    assert len(found.population) == SIZE
    assert len(found.logbook) == GENERATIONS + 1
    assert found.incidents["lost"] == 0
    assert found.best.test is not None


def test_bad_arguments(tiny_task, tmp_path):
    toolbox = make_toolbox(tiny_task())
    population = toolbox.population(n=SIZE)

    def run(*, population=population, toolbox=toolbox, **options):
        eaSteadyState(population, toolbox, **{**RATES, "ngen": 1, "verbose": False, **options})

    with pytest.raises(ArgumentError, match="cxpb: expected a finite number"):
        run(cxpb="0.5")
    with pytest.raises(ArgumentError, match=r"cxpb \+ mutpb: .*got 0\.0"):
        run(cxpb=0.0, mutpb=0.0)
    with pytest.raises(ArgumentError, match=r"cxpb \+ mutpb: .*got 1\.3"):
        run(cxpb=1.0)
    with pytest.raises(ArgumentError, match="ngen: expected"):
        run(ngen=-1)
    with pytest.raises(ArgumentError, match="block_size: expected"):
        run(block_size=0)
    for few in ([], population[:1]):
        with pytest.raises(ArgumentError, match="population: expected at least two individuals"):
            run(population=few)
    timed = make_toolbox(
        tiny_task(), objectives=("accuracy", "latency_ms"), workers=Scripted(lambda *_: "answer")
    )
    with pytest.raises(ArgumentError, match="toolbox: expected one without workers where latency"):
        run(toolbox=timed, population=timed.population(n=4))
    with pytest.raises(ArgumentError, match="toolbox: expected"):
        run(toolbox=None)
    weighted = make_toolbox(tiny_task(), selection="roulette")
    with pytest.raises(SelectionError, match="needs a Pareto fitness"):
        run(toolbox=weighted, population=weighted.population(n=4))
    with pytest.raises(ArgumentError, match="steady_state: expected False with a weighted"):
        compress(tiny_task(), selection="roulette", steady_state=True)
    with pytest.raises(ArgumentError, match="steady_state: expected True or False"):
        compress(tiny_task(), steady_state=1)
    with (
        recorded(toolbox, tmp_path / "journal"),
        pytest.raises(ArgumentError, match="toolbox: expected one that is not recorded"),
    ):
        run()
    assert toolbox.generation == -1
