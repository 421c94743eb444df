"""The first minute: from the README's command to its first words, its result, and its page.

``ecomp-deap run 1 first`` is run as a user does, in a process of its own whose lines get the time
at which they come, then ``ecomp-deap report``; and the same for a run of 100 individuals and 100
generations, whose page is the largest that is promised to open at once. Where there are Chromium,
its driver and selenium, each page is opened in it five times: the page itself says after how many
milliseconds it can be used. What the installation takes is no part of it.

Writes into OUT: ``results.csv`` and ``table.md``.

    OMP_NUM_THREADS=1 python experiments/benchmarks/first_minute.py
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _bench import Row, parser, seconds_text, write_results

COMMAND = (sys.executable, "-m", "ecomp_deap")
# What is run; then moments and figures of it, by the names of columns.
RUNS: dict[str, tuple[str, ...]] = {
    "run 1 first": (),
    "100 × 100": ("--population", "100", "--generations", "100"),
}
_QUICK = (
    "--population",
    "8",
    "--generations",
    "3",
    "--parent-epochs",
    "1",
    "--finalise-count",
    "2",
)
_OPENED = 5
_MOST_S = 60.0


def main() -> None:
    options = parser(__doc__, "first_minute").parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, words in RUNS.items():
            more = _QUICK if options.quick else words
            rows.append({"run": name, **_moments(Path(folder) / f"run{len(rows)}", more)})
    table = [{column: _text(column, value) for column, value in row.items()} for row in rows]
    notes = (
        "Seconds from the start of the command, the training of a parent included: to its first "
        "line, to that of generation 0, and to its end. Then those that the report takes, the "
        "page's bytes, how many console messages it gives, and after how many milliseconds it can "
        "be used in headless Chromium (the first time, and the median of the others)."
    )
    print(write_results(options.out, "The first minute", rows, table, notes))


def _moments(out: Path, words: Sequence[str]) -> Row:
    """Return when what came of a run, and what its page is like."""
    began = time.perf_counter()
    came: dict[str, float] = {}
    command = [*COMMAND, "run", "1", "first", *words, "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            came.setdefault("first words", time.perf_counter() - began)
            if "generation 0 " in line:
                came["generation 0"] = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    came["result"] = time.perf_counter() - began
    began = time.perf_counter()
    subprocess.run([*COMMAND, "report", str(out / "first_1")], check=True, capture_output=True)
    came["report"] = time.perf_counter() - began
    page = out / "first_1" / "report.html"
    return {**came, "bytes": page.stat().st_size, **_opened(page)}


def _opened(page: Path) -> Row:
    """Return what opening a page takes in a browser, and how much it complains; None without."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        chromium = None
    if chromium is None or driver is None:
        return {"first ms": None, "ms": None, "messages": None}
    settings = webdriver.ChromeOptions()
    settings.binary_location = chromium
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        settings.add_argument(flag)
    settings.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=settings, service=Service(driver))
    try:
        took = [_ready(browser, page) for _ in range(_OPENED)]
        messages = len(browser.get_log("browser"))
    finally:
        browser.quit()
    return {"first ms": took[0], "ms": statistics.median(took[1:]), "messages": messages}


def _ready(browser: Any, page: Path) -> float:
    """Return after how many milliseconds a page could be used."""
    browser.get("about:blank")
    browser.get(page.as_uri())
    until = time.monotonic() + _MOST_S
    while time.monotonic() < until:
        ready = browser.execute_script("return document.documentElement.dataset.ready")
        if ready:
            return float(ready)
        time.sleep(0.02)
    raise SystemExit(f"{page} could not be used within {_MOST_S:g} s")


def _text(column: str, value: object) -> object:
    if isinstance(value, int) and column == "bytes":
        return f"{value / 1e6:.2f} MB"
    if isinstance(value, float):
        return seconds_text(value / 1000 if column.endswith("ms") else value)
    return value


if __name__ == "__main__":
    main()
