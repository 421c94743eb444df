"""Does every test of a fault fail where the protection from that fault is removed?

A test that a file is refused proves nothing if the file is refused whatever we do. So each
``raise`` of the package that one of the tests reaches is taken out in turn, and the tests that
reach it are run: they should fail. Protections that raise nothing (a sum that is compared, a
random stream that is put back) stand in ``_changes.py``, with what they are replaced by.

Writes ``protections.csv`` into OUT, one row a test: its cases, how many reach a protection, how
many of these were seen to fail without one, and which that was. Ends with 1 if a test was never
seen to fail at all; ``--show`` lists single cases too.

    python experiments/reliability/protections.py --jobs 2

Processes are forked, for importing torch takes far longer than most tests: this takes Linux.
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

# What the package imports, so that forked processes have it; the package itself they import anew.
import deap.tools  # noqa: F401
import hypothesis  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pytest
import torch
import torch_pruning  # noqa: F401
import torchvision  # noqa: F401
from _changes import CHANGES
from _removal import PACKAGE, Change, Finder, Raise, all_raises, noting, without

ROOT = Path(__file__).resolve().parents[2]
# Where the faults are that issue after issue has named: damage, disks, numbers, input, files.
TESTS = (
    *("tests/hostile", "tests/runs", "tests/test_bad_arguments.py", "tests/test_interrupts.py"),
    *("tests/evaluation/test_numbers.py", "tests/evaluation/test_trial.py"),
    *("tests/search/test_disk.py", "tests/search/test_resume.py", "tests/search/test_stopping.py"),
    *("tests/toolbox/test_failed.py", "tests/network/test_parent.py", "tests/test_task.py"),
    *("tests/data/test_idx.py", "tests/data/test_samples.py", "tests/exports/test_child.py"),
    *("tests/logbook/test_files.py", "tests/similarity/test_degenerate.py"),
)
# Without a protection a test may wait or fill the memory for ever.
_SILENT_SECONDS = 20
_BYTES = 8 * 2**30


@dataclass
class Test:
    """What is known of a test function.

    Attributes:
        cases: All its cases.
        reaching: Those that reach a protection.
        failed: Those that have failed without one.
        protections: Without which.
    """

    cases: set[str] = field(default_factory=set)
    reaching: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    protections: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("tests", nargs="*", default=TESTS, help="files or folders of tests")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--show", action="store_true", help="list each case that never failed")
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out.absolute()
    os.chdir(ROOT)
    reached = _reached(options.tests)
    removals = _removals(reached)
    print(f"{len(reached)} cases, {len(removals)} protections", file=sys.stderr, flush=True)
    found = defaultdict(Test)
    for case in reached:
        found[_function(case)].cases.add(case)
    for removed, cases, failed in _run_all(removals, options.jobs):
        for case in cases:
            test = found[_function(case)]
            test.reaching.add(case)
            if case in failed:
                test.failed.add(case)
                if str(removed) not in test.protections:
                    test.protections.append(str(removed))
        print(f"{removed}: {len(failed)} of {len(cases)} fail", file=sys.stderr, flush=True)
    sys.path.insert(0, str(PACKAGE.parent))
    from ecomp_deap import export_logbook

    tests = {name: test for name, test in sorted(found.items()) if test.reaching}
    export_logbook([_row(name, test) for name, test in tests.items()], out / "protections.csv")
    n_reaching = sum(len(test.reaching) for test in tests.values())
    n_failed = sum(len(test.failed) for test in tests.values())
    print(f"{len(tests)} tests, {n_failed} of {n_reaching} cases seen to fail")
    if options.show:
        for test in tests.values():
            print(*sorted(test.reaching - test.failed), sep="\n")
    never = [name for name, test in tests.items() if not test.failed]
    if never:
        raise SystemExit("never seen to fail:\n" + "\n".join(never))


def _row(name: str, test: Test) -> dict[str, Any]:
    return {
        "test": name,
        "cases": len(test.cases),
        "reach_a_protection": len(test.reaching),
        "seen_to_fail": len(test.failed),
        "without": "; ".join(test.protections[:3]) or None,
    }


def _function(case: str) -> str:
    return case.split("[", maxsplit=1)[0]


def _removals(reached: dict[str, set[tuple[str, int]]]) -> list[tuple[Raise | Change, list[str]]]:
    """Return each protection with the cases that reach it."""
    found: list[tuple[Raise | Change, list[str]]] = []
    for statement in all_raises():
        place = (statement.file, statement.number)
        cases = [case for case, places in reached.items() if place in places]
        if cases:
            found.append((statement, cases))
    for change, names in CHANGES:
        for file, *_ in change.edits:  # or each test would fail for want of the text
            change.made_in(file, (PACKAGE / file).read_text(encoding="utf-8"))
        cases = [case for case in reached if _function(case).split("::")[-1] in names]
        if cases:
            found.append((change, cases))
    return found


def _reached(tests: Sequence[str]) -> dict[str, set[tuple[str, int]]]:
    """Run the tests as they are; return for each case which ``raise`` it reaches."""
    files = sorted({_file(path) for test in tests for path in _files(ROOT / test)})
    reached: dict[str, set[tuple[str, int]]] = {}
    run = _Run(files, None, None)
    for case, outcome, places in run.results():
        reached[case] = set(places)
        if outcome != "passed":
            raise SystemExit(f"{case} {outcome}, with all protections")
    if not reached:
        raise SystemExit("no tests were run, see above")
    return reached


def _files(path: Path) -> Iterable[Path]:
    return [path] if path.is_file() else path.rglob("test_*.py")


def _file(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _run_all(
    removals: list[tuple[Raise | Change, list[str]]], jobs: int
) -> Iterable[tuple[Raise | Change, list[str], set[str]]]:
    """Run the tests of each protection without it, so many at a time; yield which have failed."""
    waiting, running = list(reversed(removals)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            removed, cases = waiting.pop()
            running[_Attempt(removed, cases)] = removed
        wait([attempt.run.reader for attempt in running], timeout=1)
        for attempt in list(running):
            if attempt.is_done():
                yield running.pop(attempt), attempt.cases, attempt.failed


class _Attempt:
    """The tests of one protection, without it; begun again behind a test that does not end."""

    def __init__(self, removed: Raise | Change, cases: list[str]) -> None:
        self.removed, self.cases = removed, cases
        self.failed: set[str] = set()
        self._left = list(cases)
        self._begin()

    def _begin(self) -> None:
        files = sorted({case.split("::", maxsplit=1)[0] for case in self._left})
        self.run = _Run(files, self._left, self.removed)

    def is_done(self) -> bool:
        for case, outcome, _ in self.run.found():
            if case in self._left:
                self._left.remove(case)
                if outcome != "passed":
                    self.failed.add(case)
        if not self.run.has_ended() and not self.run.is_silent():
            return False
        case = self.run.stop()
        if not self._left:
            return True
        # It ended in the middle of a test, or before all of them: where nothing can be imported.
        ended = [case] if case in self._left else list(self._left)
        self.failed.update(ended)
        self._left = [c for c in self._left if c not in ended]
        if not self._left:
            return True
        self._begin()
        return False


class _Run:
    """Tests in a process of their own, with some finder of the package."""

    def __init__(
        self, files: list[str], cases: list[str] | None, removed: Raise | Change | None
    ) -> None:
        context = multiprocessing.get_context("fork")
        self.reader, writer = context.Pipe(duplex=False)
        self.process = context.Process(target=_test, args=(writer, files, cases, removed))
        self.process.start()
        writer.close()
        self._heard, self._current, self._ended = time.monotonic(), "", False

    def found(self) -> Iterable[tuple[str, str, list[tuple[str, int]]]]:
        """Yield what has been told since the last time."""
        try:
            while self.reader.poll():
                what, *rest = self.reader.recv()
                self._heard = time.monotonic()
                if what == "begins":
                    self._current = rest[0]
                else:
                    yield rest[0], rest[1], rest[2]
        except EOFError:
            self._ended = True

    def results(self) -> Iterable[tuple[str, str, list[tuple[str, int]]]]:
        """Yield all that is told until the end."""
        while not self._ended:
            wait([self.reader])
            yield from self.found()
        self.process.join()

    def has_ended(self) -> bool:
        return self._ended

    def is_silent(self) -> bool:
        return time.monotonic() - self._heard > _SILENT_SECONDS

    def stop(self) -> str:
        """Kill what is left of it; return the test it was at."""
        self.process.kill()
        self.process.join()
        self.reader.close()
        return self._current


def _test(
    writer: Connection, files: list[str], cases: list[str] | None, removed: Raise | Change | None
) -> None:
    """Run tests in this process, and tell of each."""
    resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))
    os.environ["OMP_NUM_THREADS"] = "1"
    places: set[tuple[str, int]] = set()
    finder: Finder = (
        noting(lambda file, number: places.add((file, number)))
        if removed is None
        else without(removed)
    )
    sys.meta_path.insert(0, finder)
    sys.path.insert(0, str(ROOT))
    plugin = _Teller(writer, set(cases) if cases is not None else None, places)
    options = [
        "-q",
        "--tb=short",
        "-o",
        "addopts=",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    for name in ("cacheprovider", "xdist", "faulthandler"):
        options += ["-p", f"no:{name}"]
    with open(os.devnull, "w") as nowhere, contextlib.suppress(SystemExit):
        os.dup2(2 if removed is None else nowhere.fileno(), 1)
        os.dup2(1, 2)
        pytest.main([*options, *files], plugins=[plugin])
    writer.close()
    os._exit(0)


class _Teller:
    """A plugin of pytest that runs some tests alone, and tells of each."""

    def __init__(
        self, writer: Connection, cases: set[str] | None, places: set[tuple[str, int]]
    ) -> None:
        self._writer, self._cases, self._places = writer, cases, places
        self._outcome = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._cases is not None:
            items[:] = [item for item in items if item.nodeid in self._cases]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._places.clear()
        self._outcome = "passed"
        self._writer.send(("begins", nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._outcome = "failed"

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._writer.send(("ended", nodeid, self._outcome, sorted(self._places)))


if __name__ == "__main__":
    main()
