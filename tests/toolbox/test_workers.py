"""Blocks of genomes may be measured anywhere, and give the same there."""

import multiprocessing
import pickle
import pickletools
from concurrent.futures import ThreadPoolExecutor

import pytest

from ecomp_deap import ArgumentError, make_toolbox
from tests.toolbox.runs import plus, simple, trace

CASES = [
    ("mask", "nsga2", plus, {}),
    ("mask", "nsga2", plus, {"train_steps": 2, "inherit": True}),
    ("weights", "roulette", simple, {"train_steps": 1}),
]
cases = pytest.mark.parametrize(("genome", "selection", "loop", "training"), CASES)


@pytest.fixture(scope="module")
def pool():
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        yield workers


def run(task, genome, selection, loop, register=None, **options):
    toolbox = make_toolbox(
        task, genome=genome, selection=selection, seed=2, block_size=3, **options
    )
    if register is not None:
        toolbox.register("map", *register[0], **register[1])
    return trace(toolbox, loop)


@cases
def test_a_process_pool_gives_the_serial_run_to_the_last_bit(
    pool, genome, selection, loop, training, tiny_task
):
    serial = run(tiny_task(**training), genome, selection, loop)
    for options in ({}, {"chunksize": 2}):
        register = ((pool.map,), options)
        assert run(tiny_task(**training), genome, selection, loop, register) == serial
    assert run(tiny_task(**training), genome, selection, loop, ((pool.imap,), {})) == serial


@cases
def test_an_executor_gives_the_serial_run_to_the_last_bit(
    genome, selection, loop, training, tiny_task
):
    serial = run(tiny_task(**training), genome, selection, loop)
    with ThreadPoolExecutor(2) as executor:
        register = ((executor.map,), {})
        assert run(tiny_task(**training), genome, selection, loop, register) == serial


def test_a_map_may_be_registered_with_arguments(tiny_task):
    calls = []

    def through(label, function, *iterables):
        calls.append(label)
        return map(function, *iterables)

    serial = run(tiny_task(), "mask", "nsga2", plus)
    assert run(tiny_task(), "mask", "nsga2", plus, ((through, "workers"), {})) == serial
    assert set(calls) == {"workers"}


def modules_in(data: bytes) -> set[str]:
    """Return every text that a pickle holds, names of modules among them."""
    return {arg for _, arg, _ in pickletools.genops(data) if isinstance(arg, str)}


@pytest.mark.parametrize("genome", ["mask", "weights"])
def test_workers_receive_no_objects_of_deap(genome, tiny_task):
    toolbox = make_toolbox(tiny_task(), genome=genome, block_size=3)
    seen = []

    def inspect(function, blocks):
        blocks = list(blocks)
        seen.extend(len(block[0]) for block in blocks)
        results = []
        for block in blocks:
            sent = pickle.dumps((function, block))
            found = modules_in(sent)
            assert not {text for text in found if text.split(".")[0] == "deap"}
            assert any(text.startswith("ecomp_deap.genomes") for text in found)
            function_there, block_there = pickle.loads(sent)
            results.append(pickle.loads(pickle.dumps(function_there(block_there))))
        return results

    toolbox.register("map", inspect)
    plus(toolbox, toolbox.population(n=8))
    # Blocks are cut by index, and the last one is what is left over.
    assert seen[:3] == [3, 3, 2]
    assert pickle.dumps(toolbox.population(n=1)[0]).find(b"deap.creator") >= 0


def test_what_a_worker_raises_reaches_the_user(tiny_task):
    toolbox = make_toolbox(tiny_task())

    def broken(function, blocks):
        raise OSError("a worker is gone")

    toolbox.register("map", broken)
    with pytest.raises(OSError, match="a worker is gone"):
        toolbox.map(toolbox.evaluate, toolbox.population(n=2))


@pytest.mark.parametrize("block_size", [1, 2, 50])
def test_the_size_of_blocks_changes_figures_in_the_last_bits_at_most(block_size, tiny_task):
    def measure(**options):
        toolbox = make_toolbox(tiny_task(), **options)
        population = toolbox.population(n=5)
        return toolbox.map(toolbox.evaluate, population)

    for found, expected in zip(measure(block_size=block_size), measure(), strict=True):
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("own_map", "got"),
    [
        (lambda function, blocks: None, "NoneType"),
        (lambda function, blocks: [], "0 results"),
        (lambda function, blocks: [function(block) for block in blocks[1:]], "1 results"),
        (lambda function, blocks: [function(block) for block in [*blocks, blocks[0]]], "3 results"),
        (lambda function, blocks: [None for block in blocks], "None for block 0"),
        (lambda function, blocks: [function(b)[1:] for b in blocks], "2 outcomes for block 0"),
        (lambda function, blocks: [[1, 2, 3], [4, 5, 6]], r"\[1, 2, 3\] for block 0"),
    ],
)
def test_a_map_that_gives_something_else_is_named(own_map, got, tiny_task):
    toolbox = make_toolbox(tiny_task(), block_size=3)
    toolbox.register("map", own_map)
    expected = "^map: expected the result of each of 2 blocks, in order, got "
    with pytest.raises(ArgumentError, match=f"{expected}{got}"):
        toolbox.map(toolbox.evaluate, toolbox.population(n=6))


def test_what_a_worker_raises_is_the_maps_own(tiny_task):
    toolbox = make_toolbox(tiny_task(), block_size=3)

    def lazy(function, blocks):
        yield function(blocks[0])
        raise TypeError("a worker is gone")

    toolbox.register("map", lazy)
    with pytest.raises(TypeError, match="a worker is gone"):
        toolbox.map(toolbox.evaluate, toolbox.population(n=6))
