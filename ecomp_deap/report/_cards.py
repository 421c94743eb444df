"""The card of a child: its figures and widths beside the parent's, and how to take it along."""

import re
import shlex
from collections.abc import Sequence
from html import escape
from typing import Any

from ecomp_deap.report import _words as words
from ecomp_deap.report._found import Found, Row, widths

# Steps of a long lineage that are shown, the first one among them.
_MOST_BIRTHS = 12
# What an address can end in without being quoted.
_PLAIN = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def name_of(index: int, row: Row, prefix: str = "") -> str:
    """Return the name by which a page is led to a child's card.

    >>> name_of(3, {"id": "007"}), name_of(3, {"id": "<b>"}, "run-2-")
    ('child-007', 'run-2-card-4')
    """
    plain = _PLAIN.fullmatch(row["id"])
    return prefix + (f"child-{row['id']}" if plain else f"card-{index + 1}")


def card_of(
    run: Found, index: int | None, picks: Sequence[str], prefix: str = ""
) -> dict[str, Any]:
    """Return what a page tells of a child, or of the parent, whose index is None.

    ``prefix`` is that of its name, where a page has children of several runs.
    """
    row = run.parent if index is None else run.front[index]
    card: dict[str, Any] = {
        "id": row.get("id"),
        "picks": run.metric.pick_titles(picks) if picks else "",
        "tags": [run.metric.pick_label(word) for word in picks],
        "test": run.metric.text(row.get(f"test_{run.metric.column}"), 2),
        "validation": run.metric.text(row.get(f"validation_{run.metric.column}"), 2),
        "parameters": words.count(row.get("param_count")),
        "share": words.share(run.share(row)),
        "macs": words.count(row.get("mac_count")),
        "bytes": words.count(row.get("size_bytes")),
        "latency": words.number(row.get("latency_ms")),
        "similarity": words.number(row.get("similarity_loss")),
        "width": words.percent(row.get("relative_width")),
        "widths": " · ".join(map(str, widths(row))) or words.NOTHING,
    }
    if index is None:
        return card
    return {
        **card,
        "name": name_of(index, row, prefix),
        "before": _before(run, row),
        "compared": run.metric.compared(row[run.quantity] - run.parent[run.quantity]),
        "bars": _bars(run, row),
        "births": _births(run, row),
        "smaller": _neighbour(run, index - 1, prefix),
        "larger": _neighbour(run, index + 1, prefix),
        "command": _command(run, row),
        "python": _python(run, row),
    }


def tip_of(run: Found, row: Row, picks: Sequence[str]) -> str:
    """Return what is shown of a child where the pointer is, as HTML."""
    title = f"Child {row['id']}"
    if picks:
        title += f", {words.listed([run.metric.pick_label(word) for word in picks])}"
    lines = [
        run.metric.phrase(value, samples)
        for samples in ("test", "validation")
        if (value := row.get(f"{samples}_{run.metric.column}")) is not None
    ]
    lines += [
        f"{words.count(row['param_count'])} parameters, {words.share(run.share(row))}",
        f"{words.count(row.get('mac_count'))} MACs",
        f"{words.number(row.get('similarity_loss'))} similarity loss",
    ]
    if row.get("latency_ms") is not None:
        lines.append(f"{words.number(row['latency_ms'])} ms")
    units = widths(row)
    if units:
        shown = "-".join(map(str, units[:12])) + ("-…" if len(units) > 12 else "")
        lines.append(f"widths {shown}")
    lines = [line for line in lines if not line.startswith(words.NOTHING)]
    return "<br>".join([f"<b>{escape(title)}</b>", *map(escape, lines)])


def _before(run: Found, row: Row) -> str | None:
    """Return the accuracy before the final training, None where there was none."""
    before = row.get(f"{run.quantity}_before")
    return None if before is None else run.metric.text(before, 2)


def _bars(run: Found, row: Row) -> list[dict[str, Any]]:
    """Return a bar for each group: the parent's units, by the widest's, and what stays of them."""
    own, whole = widths(row), widths(run.parent)
    if not own or len(own) != len(whole) or len(own) != len(run.groups):
        return []
    widest = max(*whole, *own, 1)
    return [
        {
            "name": name,
            "units": words.count(units),
            "of": words.count(all_units),
            "track": f"{100 * all_units / widest:.1f}",
            "fill": f"{100 * units / widest:.1f}",
        }
        for name, units, all_units in zip(run.groups, own, whole, strict=True)
    ]


def _births(run: Found, row: Row) -> list[dict[str, str]]:
    """Return what is told of each step by which a child came about."""
    parts = run.births.get(row["id"], [])
    known = [part for part in parts if part is not None]
    if not known:
        return []
    gap = len(known) > _MOST_BIRTHS or len(known) < len(parts)
    shown = [known[0], *known[-(_MOST_BIRTHS - 1) :]] if len(known) > _MOST_BIRTHS else known
    of = "of" if run.metric.is_accuracy else "on"
    found = []
    for i, birth in enumerate(shown):
        found.append(
            {
                "when": f"Generation {birth.generation}",
                "how": words.listed([words.event(event) for event in birth.events])
                if birth.events
                else "pruned from the parent",
                "what": f"{words.count(birth.param_count)} parameters, "
                f"{run.metric.text(birth.metric, 0)} {of} its batch",
            }
        )
        if i == 0 and gap:
            found.append({"when": "…", "how": "generations in between", "what": ""})
    if shown[-1].param_count != row["param_count"]:
        resized = f"{words.count(row['param_count'])} parameters"
        found.append({"when": "At the end", "how": "resized", "what": resized})
    if row.get(f"{run.quantity}_before") is not None:
        trained = f"{run.metric.text(row[run.quantity])} {of} all {run.samples} samples"
        found.append({"when": "At the end", "how": "trained for longer", "what": trained})
    return found


def _neighbour(run: Found, index: int, prefix: str) -> str | None:
    inside = 0 <= index < len(run.front)
    return name_of(index, run.front[index], prefix) if inside else None


def _command(run: Found, row: Row) -> str:
    """Return what writes a child to a file that others load."""
    parts = ["ecomp-deap", "export", str(run.path), "--child", row["id"], "--format", "pt2"]
    if isinstance(run.factory, str):
        parts += ["--factory", run.factory]
    return shlex.join(parts)


def _python(run: Found, row: Row) -> str:
    """Return what loads a child in Python."""
    path = run.path / "children" / f"{row['id']}.safetensors"
    lines = ["import ecomp_deap as ed"]
    factory = ""
    if isinstance(run.factory, str):
        module, _, name = run.factory.rpartition(":")
        first = name.partition(".")[0]
        stem = re.split(r"[/\\]", module)[-1].removesuffix(".py")
        if all(part.isidentifier() for part in (*stem.split("."), *name.split("."))):
            lines.append(f"from {stem} import {first}")
            factory = f", {name}"
        else:
            factory = ", ..."  # the class of the network
    return "\n".join([*lines, f"child = ed.load_child({str(path)!r}{factory})"])
