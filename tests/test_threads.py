import os
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.recipe import Recipe
from ecomp_deap.task import Metric
from ecomp_deap.threads import available_cores, thread_map, torch_threads
from tests.evaluation.dense_contexts import masks_for, weights_for


def square(x):
    return x * x


@given(items=st.lists(st.integers(-9, 9)), threads=st.integers(1, 4))
def test_results_come_in_order(items, threads):
    assert thread_map(square, iter(items), threads=threads) == [square(x) for x in items]


def test_a_slow_item_keeps_its_place():
    second_is_done = threading.Event()

    def run(item):
        if item == 0:
            assert second_is_done.wait(timeout=10)
        else:
            second_is_done.set()
        return item

    assert thread_map(run, range(2), threads=2) == [0, 1]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_reaches_the_caller_and_leaves_nothing_behind(threads):
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError, match="division"):
        thread_map(lambda x: 1 // x, [1, 0, 2], threads=threads)
    assert torch.get_num_threads() == 2
    assert thread_map(square, [1, 2, 3], threads=threads) == [1, 4, 9]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_each_result_is_told_of_in_the_callers_thread(threads):
    told = []
    thread_map(
        square, range(5), threads=threads, on_each=lambda: told.append(threading.get_ident())
    )
    assert told == [threading.get_ident()] * 5


def test_one_thread_is_the_callers_own_with_its_torch_threads():
    torch.set_num_threads(2)
    found = thread_map(lambda _: (threading.get_ident(), torch.get_num_threads()), [0], threads=1)
    assert found == [(threading.get_ident(), 2)]


def test_several_threads_compute_with_one_torch_thread_each_and_put_the_number_back():
    torch.set_num_threads(2)
    both = threading.Barrier(2)

    def run(_):
        both.wait(timeout=10)
        return threading.get_ident(), torch.get_num_threads()

    first, second = thread_map(run, range(2), threads=2)
    assert first[0] != second[0]
    assert threading.get_ident() not in (first[0], second[0])
    assert first[1] == second[1] == 1
    assert torch.get_num_threads() == 2


def test_the_number_of_torch_threads_is_put_back_after_an_error():
    def fail():
        with torch_threads(2):
            raise KeyError(torch.get_num_threads())

    with pytest.raises(KeyError, match="2"):
        fail()
    assert torch.get_num_threads() == 1


def test_there_is_a_core_to_compute_with():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_fork_has_threads_of_its_own():
    assert thread_map(square, range(3), threads=2) == [0, 1, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forks of threads may lock up
        child = os.fork()
    if child == 0:
        signal.alarm(10)  # ends a fork that waits for threads it does not have
        os._exit(0 if thread_map(square, range(3), threads=2) == [0, 1, 4] else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("train_steps", [0, 2])
@pytest.mark.parametrize("block_size", [1, 3, 25])
def test_the_number_of_threads_changes_no_bit_of_the_outcomes(tiny_task, block_size, train_steps):
    task = tiny_task(train_steps=train_steps, training=Recipe(learning_rate=0.01))
    found = {}
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        evaluator = Evaluator(task, block_size=block_size, threads=threads)
        context = evaluator.context(1)
        genomes = [*masks_for(context, 4), *weights_for(context, 4)]
        found[threads] = evaluator.measure(genomes, 1, range(8))
    assert found[1] == found[2] == found[3]
    assert len({outcome.measurement.similarity_loss for outcome in found[1]}) == 8


def caller_only(function):
    """A function of a user's, and the threads it was called from."""
    seen = set()

    def called(*arguments):
        seen.add(threading.get_ident())
        return function(*arguments)

    return called, seen


@pytest.mark.parametrize("which", ["metric", "loss_fn"])
def test_a_users_functions_are_called_in_the_callers_thread(tiny_task, which):
    options = {"train_steps": 1}
    if which == "metric":
        called, seen = caller_only(lambda outputs, targets: float(outputs.std()))
        options["metric"] = Metric(called, "spread")
    else:
        called, seen = caller_only(torch.nn.functional.cross_entropy)
        options["loss_fn"] = called
    evaluator = Evaluator(tiny_task(**options), block_size=2, threads=2)
    genomes = masks_for(evaluator.context(1), 6)
    evaluator.measure(genomes, 1, range(6))
    scorer = evaluator.scorer(evaluator.task.splits.validation)
    children = [(evaluator.compile(genome), genome.widths) for genome in genomes]
    scorer.score_all(children, threads=evaluator.scoring_threads)
    assert seen == {threading.get_ident()}


def test_two_callers_at_once_find_what_one_finds(tiny_task):
    evaluator = Evaluator(tiny_task(), block_size=2, threads=2)
    genomes = masks_for(evaluator.context(1), 6)
    alone = evaluator.measure(genomes, 1, range(6))
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(evaluator.measure, genomes, 1, range(6)) for _ in range(4)]
        assert all(run.result() == alone for run in runs)
