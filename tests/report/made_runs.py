"""Run directories made by hand, without a search, and pages as tests read them."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

from deap import tools

from ecomp_deap.report import write_report
from ecomp_deap.runs.directory import RunDirectory

CHAPTERS = (
    *("fitness", "accuracy", "similarity_loss"),
    *("relative_width", "param_count", "mac_count", "size_bytes"),
)
PARENT_COUNT = 100_000
# What ends a script, an attribute, a tag and a text, if it is not escaped.
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&${`<!--"


def row_of(name, share, accuracy, *, before=None, latency=None, widths="20-30"):
    count = round(PARENT_COUNT * share)
    row = {
        "id": name,
        "validation_accuracy": accuracy,
        "test_accuracy": accuracy - 0.005,
        "validation_accuracy_before": before,
        "test_accuracy_before": before,
        "similarity_loss": 2 * (1 - accuracy),
        "relative_width": share,
        "param_count": count,
        "mac_count": count - 7,
        "size_bytes": 4 * count,
        "widths": widths,
    }
    return row if latency is None else {**row, "latency_ms": latency}


def front_of(n):
    """Rows of n children, of which every third was finalised."""
    shares = [0.01 * 90 ** (i / max(n - 1, 1)) for i in range(n)]
    return [
        row_of(
            f"{i + 1:03d}",
            share,
            0.3 + 0.6 * (i + 1) / n,
            before=0.2 if i % 3 == 0 else None,
            widths=f"{round(40 * share) + 1}-{round(50 * share) + 1}",
        )
        for i, share in enumerate(shares)
    ]


def of_metric(row, metric, *, maximise=True):
    """A row by another metric than accuracy; where less of it is better, by what is missing."""
    found = {}
    for name, value in row.items():
        less = not maximise and "_accuracy" in name and value is not None
        found[name.replace("_accuracy", f"_{metric}")] = round(1 - value, 9) if less else value
    return found


def make_run(
    out,
    name="first",
    *,
    front=None,
    generations=4,
    picks=None,
    groups=("one", "two"),
    config=None,
    metric="accuracy",
    maximise=True,
    tolerance=0.02,
):
    """Write what a run leaves behind, and return its folder.

    Where more of the metric is better, the summary is an older one, and does not tell that.
    """
    directory = RunDirectory.create(out, name)
    front = [
        of_metric(row, metric, maximise=maximise)
        for row in (front_of(3) if front is None else front)
    ]
    columns = list(dict.fromkeys(column for row in front for column in row))
    directory.write_rows("front.csv", columns, front)
    ids = [row["id"] for row in front]
    picks = {"best": ids[-1], "knee": ids[len(ids) // 2]} if picks is None else picks
    best = next((row for row in front if row["id"] == picks.get("best")), front[-1])
    parent = of_metric(row_of("parent", 1, 0.91, widths="40-50"), metric, maximise=maximise)
    told = {"metric": {"name": metric, "maximise": False, "tolerance": tolerance}}
    directory.write_json(
        "summary.json",
        {
            **({} if maximise else told),
            "parent": parent,
            "best": best,
            "picks": picks,
            "seconds": {"search": 3.0, "finalise": 1.0},
            "evaluations": 1200,
            "seed": 3,
            "versions": {"torch": "2.14.1", "python": "3.12.0"},
        },
    )
    directory.write_json("config.json", {"population": 20, "factory": None, **(config or {})})
    logbook = tools.Logbook()
    for generation in range(generations):
        figures = {"min": 0.1, "mean": 0.2, "max": 0.3 + generation / 1000, "std": 0.1}
        chapters = [metric if chapter == "accuracy" else chapter for chapter in CHAPTERS]
        logbook.record(gen=generation, nevals=4, **dict.fromkeys(chapters, figures))
    directory.write_logbook(logbook)
    timings = [
        {"generation": i, "seconds": 0.1 + i / 100, "hypervolume": 0.5 + i / 1000}
        for i in range(generations)
    ]
    directory.write_rows("timings.csv", list(timings[0]), timings)
    planes = {name: [[0.1 * i, 0.2 - 0.1 * i] for i in range(5)] for name in ("parent", ids[-1])}
    directory.write_compact_json(
        "embeddings.json", {"layer": "act", "labels": [0, 1, 2, 9, 9], "points": planes}
    )
    step = [1, ["cxUniformUnits@0", "mutResizeGroup"], front[-1]["param_count"], 0.75]
    directory.write_compact_json("lineage.json", {ids[-1]: [[0, [], 70_000, 0.5], step]})
    manifest = {"kept": {group: [0, 1] for group in groups}}
    for identifier in ids:
        if identifier.isalnum():
            path = directory.child(identifier).with_suffix(".json")
            path.write_text(json.dumps(manifest), encoding="utf-8")
    return directory.path


class Page(HTMLParser):
    """A page as a browser takes it apart: its elements, and the text in each."""

    VOID = ("meta", "link", "br", "img", "path", "circle")

    def __init__(self, path):
        super().__init__()
        self.elements = []
        self._open = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", "in": [e["tag"] for e in self._open], **dict(attrs)}
        self.elements.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self._open.pop()["tag"] == tag
            self.handle_data(" ")  # for whoever reads it, cells are apart

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag, **attributes):
        """Elements with a tag, and such attributes; ``cls`` is a class."""
        wanted = {name: value for name, value in attributes.items() if name != "cls"}
        return [
            e
            for e in self.elements
            if e["tag"] == tag
            and all(e.get(name) == value for name, value in wanted.items())
            and ("cls" not in attributes or attributes["cls"] in e.get("class", "").split())
        ]

    def text(self, tag, **attributes):
        """The text of the only element of a kind."""
        (text,) = self.texts(tag, **attributes)
        return text

    def texts(self, tag, **attributes):
        """The texts of the elements of a kind, with single spaces."""
        return [" ".join(e["text"].split()) for e in self.all(tag, **attributes)]

    @property
    def ids(self):
        return [e["id"] for e in self.elements if "id" in e]


def page_of(*runs, **options):
    """The page of these runs."""
    return Page(write_report(runs, **options))


def check_sound(page):
    """Check what holds for every page: structure, links within it, and nothing from elsewhere."""
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    levels = [int(e["tag"][1]) for e in page.elements if re.fullmatch(r"h[1-6]", e["tag"])]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(set(page.ids)) == len(page.ids)
    targets = [e["href"] for e in page.all("a")]
    assert targets
    assert {t for t in targets if not t.startswith("#")} == set()
    assert {t[1:] for t in targets} <= set(page.ids)
    named = {i for e in page.elements for i in e.get("aria-labelledby", "").split()}
    assert named <= set(page.ids)
    # All attributes that load something, or run something.
    loads = {e[name] for e in page.elements for name in ("src", "srcset", "data") if name in e}
    assert loads == set()
    assert [e["href"] for e in page.all("link")] == ["data:,"]
    assert not any(name.startswith("on") for e in page.elements for name in e)
    policy = next(e["content"] for e in page.all("meta") if "http-equiv" in e)
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    assert {e["tag"] for e in page.elements} & {"img", "iframe", "object", "embed", "base"} == set()
