"""Workers in this process that do what a test says with each job that they are given."""

from concurrent.futures import Future
from dataclasses import replace

from ecomp_deap.evaluation.workers import Lost, Workers, run
from ecomp_deap.evaluation.workers.job import unpack_genomes
from ecomp_deap.evaluation.workers.workers import Ended


class Scripted(Workers):
    """Answers, or not, as ``fate(n, genomes)`` says of the n-th job.

    - ``"answer"``; ``"late"``: when the next job comes; ``"cancel"``
    - ``"alone"``: its worker ends; ``"all"``: all end
    - ``"hang"``: never
    - ``"gone"``: it cannot be sent
    """

    def __init__(self, fate, n_workers=2, ends=Ended.ALL):
        self.fate, self.n_workers, self.ends = fate, n_workers, ends
        self.sent, self.restarts, self.late = [], 0, []

    def submit(self, job, kit, *, needed):
        genomes = unpack_genomes(job.genomes)
        fate = self.fate(len(self.sent), genomes)
        self.sent.append((job.index, len(genomes), needed, fate))
        if fate == "gone":
            raise Lost("there is no one", alone=False)
        for future, answer in self.late:
            future.set_result(answer)
        self.late = []
        future = Future()
        if fate == "cancel":
            future.cancel()
            future.set_running_or_notify_cancel()
        elif fate in ("alone", "all"):
            future.set_exception(Lost("it ended", alone=fate == "alone"))
        elif fate in ("answer", "late"):
            answer = run(replace(job, source=kit.content) if needed else job)
            if fate == "late" and answer.outcomes is not None:
                self.late.append((future, answer))
            else:
                future.set_result(answer)
        return future

    def as_lost(self, error):
        return error if isinstance(error, Lost) else None

    def end(self, future):
        return self.ends

    def restart(self):
        self.restarts += 1
