"""Whatever becomes of workers: each block is answered once, and with the same.

Each test was seen to fail without what it is about: blaming (`breaks` of `_Piece`), measuring alone
(`_settle`), late answers (`late`), the kit on demand (`needs_kit`), the end of hope
(`_BREAKS_AT_START`).
"""

import pickle
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from ecomp_deap import ArgumentError, EvaluationError, Task, make_toolbox
from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.evaluation.workers import Crew, ExecutorWorkers, Request, run
from ecomp_deap.evaluation.workers.workers import Ended
from tests.evaluation.workers.scripted import Scripted

N, BLOCK = 14, 3  # five blocks, the last one shorter


@pytest.fixture
def toolbox(tiny_task):
    return make_toolbox(tiny_task(train_steps=1), seed=5, block_size=BLOCK)


@pytest.fixture
def measure(toolbox):
    """Measure a population by workers; return what they found and what a single process finds."""
    genomes = [individual.plain() for individual in toolbox.population(n=N)]
    evaluator, seeds = toolbox.evaluator, list(range(N))
    expected = evaluator.measure(genomes, 2, seeds)

    def by(workers, crew=None, **options):
        crew = Crew(workers, **options) if crew is None else crew
        blocks = [(genomes[i : i + BLOCK], seeds[i : i + BLOCK]) for i in range(0, N, BLOCK)]
        found = crew.measure(
            evaluator,
            blocks,
            generation=2,
            train=True,
            failed=lambda reason: Outcome(replace(evaluator.worst, reason=reason)),
        )
        return [outcome for block in found for outcome in block], crew.incidents

    by.expected, by.genomes = expected, genomes
    return by


def always(n, genomes):
    return "answer"


def test_workers_find_what_one_process_finds(measure):
    workers = Scripted(always)
    found, incidents = measure(workers)
    assert found == measure.expected
    assert vars(incidents) == dict.fromkeys(vars(incidents), 0)
    # Who lacked the kit was sent it with the same job, and no one else.
    assert sum(needed for *_, needed, _ in workers.sent) == sum(
        count > 1 for count in _counts(workers).values()
    )


def _counts(workers):
    counts = {}
    for index, *_ in workers.sent:
        counts[index] = counts.get(index, 0) + 1
    return counts


@pytest.mark.parametrize("fate", ["alone", "all", "cancel", "gone"])
@pytest.mark.parametrize("when", [0, 3, 7])
def test_a_worker_that_ends_costs_nothing_but_time(measure, fate, when):
    workers = Scripted(lambda n, genomes: fate if n == when else "answer")
    found, incidents = measure(workers)
    assert found == measure.expected
    assert incidents.lost == 1
    assert incidents.resubmitted >= 1
    assert incidents.blamed == 0
    assert workers.restarts == (fate in ("all", "gone"))


# As many as five would be one block's fault.
MISFORTUNES = st.dictionaries(
    st.integers(0, 12), st.sampled_from(["alone", "all", "cancel", "gone"]), max_size=4
)


@given(misfortunes=MISFORTUNES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_misfortune_changes_what_is_found(measure, misfortunes):
    workers = Scripted(always)
    crew = Crew(workers)
    measure(workers, crew)  # an answer first, so that hope is not given up
    workers.sent, workers.fate = [], lambda n, genomes: misfortunes.get(n, "answer")
    found, incidents = measure(workers, crew)
    assert found == measure.expected
    assert incidents.blamed == 0


CULPRIT = 13  # the one in the last block that is like no other


def others(outcomes):
    return outcomes[:CULPRIT] + outcomes[CULPRIT + 1 :]


def is_culprit(genome, measure):
    return genome.key() == measure.genomes[CULPRIT].key()


@pytest.mark.parametrize("fate", ["alone", "all"])
def test_a_child_that_ends_its_workers_fails_alone(measure, fate):
    def by(n, genomes):
        return fate if any(is_culprit(g, measure) for g in genomes) else "answer"

    workers = Scripted(by)
    found, incidents = measure(workers)
    assert found[CULPRIT].measurement.failed
    assert found[CULPRIT].measurement.reason == "it ended"
    assert others(found) == others(measure.expected)
    assert incidents.blamed == 1
    # In the end it was sent by itself.
    assert [n for _, n, _, f in workers.sent if f == fate][-1] == 1


class Unbegun(Scripted):
    """Workers that end before they begin with what they were sent."""

    def had_begun(self, future):
        return False


@pytest.mark.parametrize(("kind", "blamed"), [(Unbegun, 0), (Scripted, 1)])
def test_who_was_not_begun_with_is_not_blamed(measure, kind, blamed):
    times = iter(range(8))

    def by(n, genomes):
        unlucky = any(is_culprit(g, measure) for g in genomes)
        return "alone" if unlucky and next(times, None) is not None else "answer"

    found, incidents = measure(kind(by))
    assert (found == measure.expected) is (blamed == 0)
    assert (incidents.lost, incidents.blamed) == (8, blamed)


def test_who_is_never_begun_with_fails_in_the_end(measure):
    def by(n, genomes):
        return "alone" if any(is_culprit(g, measure) for g in genomes) else "answer"

    found, incidents = measure(Unbegun(by))
    assert found[CULPRIT].measurement.failed
    assert others(found) == others(measure.expected)
    assert incidents.blamed == 1


def test_a_child_that_never_ends_fails_alone(measure):
    def by(n, genomes):
        return "hang" if any(is_culprit(g, measure) for g in genomes) else "answer"

    found, incidents = measure(Scripted(by), timeout_s=0.05)
    assert found[CULPRIT].measurement.reason == "it took longer than 0.05 s"
    assert others(found) == others(measure.expected)
    assert incidents.blamed == 1
    assert incidents.hung >= 3


def test_a_block_that_was_answered_late_is_not_answered_again(measure, toolbox):
    fates = {6: "late", 7: "answer"}

    def by(n, genomes):
        if any(is_culprit(g, measure) for g in genomes):
            sent.append(n)
            return {1: "answer", 2: "late"}.get(len(sent), "hang")  # at first it lacks the kit
        return fates.get(n, "answer")

    sent = []
    genomes, seeds = measure.genomes, list(range(N))
    crew = Crew(Scripted(by, n_workers=3, ends=Ended.NONE), timeout_s=0.05)
    requests = [
        Request(genomes[i : i + BLOCK], seeds[i : i + BLOCK], 2) for i in range(0, N, BLOCK)
    ]
    found = crew.stream(
        toolbox.evaluator, iter(requests), failed=lambda reason: pytest.fail(reason)
    )
    assert sorted(index for index, _ in found) == list(range(len(requests)))


def test_who_waits_for_a_worker_has_not_taken_too_long(measure):
    asked = []

    class Slow(Scripted):
        def end(self, future):
            asked.append(future)
            if len(asked) < 4:
                return Ended.UNBEGUN
            future.set_result(self.waiting.pop(future)())  # at last there is a worker
            return Ended.UNBEGUN

        def submit(self, job, kit, *, needed):
            if self.fate(len(self.sent), []) != "wait":
                return super().submit(job, kit, needed=needed)
            self.sent.append((job.index, len(job.genomes), needed, "wait"))
            future = Future()
            self.waiting = {future: lambda: run(replace(job, source=kit.content))}
            return future

    found, incidents = measure(
        Slow(lambda n, genomes: "wait" if n == 6 else "answer"), timeout_s=0.05
    )
    assert found == measure.expected
    assert vars(incidents) == dict.fromkeys(vars(incidents), 0)
    assert len(asked) == 4


def test_a_block_that_takes_too_long_once_is_measured_by_another(measure):
    workers = Scripted(lambda n, genomes: "hang" if n == 6 else "answer", ends=Ended.ONE)
    found, incidents = measure(workers, timeout_s=0.05)
    assert found == measure.expected
    assert (incidents.hung, incidents.blamed) == (1, 0)


def test_a_late_answer_is_taken_or_dropped(measure):
    # Its worker cannot be ended, and answers as soon as the job is sent again.
    workers = Scripted(
        lambda n, genomes: "late" if n == 9 else "answer", n_workers=3, ends=Ended.NONE
    )
    found, incidents = measure(workers, timeout_s=0.05)
    assert found == measure.expected
    assert (incidents.hung, incidents.dropped) == (1, 1)


def test_workers_that_all_take_too_long_and_are_anothers_end_the_search(measure):
    workers = Scripted(lambda n, genomes: "hang", ends=Ended.NONE)
    with pytest.raises(EvaluationError, match=r"all 2 take longer than 0\.05 s"):
        measure(workers, timeout_s=0.05)


def test_workers_that_never_answer_end_the_search(measure):
    workers = Scripted(lambda n, genomes: "all")
    with pytest.raises(EvaluationError, match="each one ended before it answered anything: it end"):
        measure(workers)


def test_an_error_of_a_job_is_raised_as_it_is(measure, toolbox):
    class Broken(Scripted):
        def submit(self, job, kit, *, needed):
            future = super().submit(job, kit, needed=needed)
            future._result, future._exception = None, ArgumentError("data: sample 7 is none")
            return future

    with pytest.raises(ArgumentError, match="sample 7"):
        measure(Broken(always))


def test_what_a_worker_cannot_read_is_an_error_of_the_workers(measure):
    class Apart(Scripted):
        def submit(self, job, kit, *, needed):
            future = super().submit(job, kit, needed=needed)
            future._result, future._exception = None, ModuleNotFoundError("No module named 'mine'")
            return future

    with pytest.raises(EvaluationError, match="one of them raised ModuleNotFoundError: No module"):
        measure(Apart(always))


def test_a_task_that_cannot_be_pickled_is_refused(tiny_task):
    lock = threading.Lock()

    def forward(module, inputs):
        with lock:
            return module(inputs)

    toolbox = make_toolbox(tiny_task(forward=forward), workers=Scripted(always))
    with pytest.raises(ArgumentError, match=r"workers: .* cannot be pickled, got .*lock"):
        toolbox.map(toolbox.evaluate, toolbox.population(n=2))


def test_any_executor_will_do(measure):
    with ThreadPoolExecutor(2) as executor:
        found, incidents = measure(ExecutorWorkers(executor))
    assert found == measure.expected
    assert incidents.lost == 0


def test_an_executor_of_ones_own_that_breaks_is_not_ours_to_mend(measure):
    class Breaking(ThreadPoolExecutor):
        def submit(self, function, *args):
            raise BrokenProcessPool("a process in the pool died")

    with Breaking(2) as executor, pytest.raises(EvaluationError, match="is not ours"):
        measure(ExecutorWorkers(executor))


def test_no_object_of_deap_is_sent(tiny_task, monkeypatch):
    toolbox = make_toolbox(tiny_task(), workers=Scripted(always))
    sent = []
    submit = Scripted.submit
    monkeypatch.setattr(
        Scripted,
        "submit",
        lambda self, job, kit, needed: (
            sent.append(pickle.dumps(job) + kit.content) or submit(self, job, kit, needed=needed)
        ),
    )
    toolbox.map(toolbox.evaluate, toolbox.population(n=4))
    assert sent
    assert not any(b"deap.creator" in content for content in sent)


def test_threads_that_train_do_not_disturb_each_other(tiny_splits):
    torch.manual_seed(5)
    network = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)).eval()
    task = Task(network, tiny_splits, batch_size=30, train_steps=10)

    def search(workers):
        toolbox = make_toolbox(task, seed=1, block_size=1, engine="loop", workers=workers)
        population = toolbox.population(n=12)
        return list(toolbox.map(toolbox.evaluate, population))

    with ThreadPoolExecutor(4) as executor:
        assert search(executor) == search(None)


def test_workers_that_all_end_at_the_start_are_told_of(measure):
    with pytest.raises(EvaluationError, match="each one ended before it answered anything"):
        measure(Unbegun(lambda n, genomes: "alone"))
