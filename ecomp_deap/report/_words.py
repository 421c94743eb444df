"""How a page puts figures into words."""

from collections.abc import Mapping, Sequence
from typing import Any

from ecomp_deap.report._figure import count_text

NOTHING = "–"


def percent(value: Any, digits: int = 1) -> str:
    """Return a fraction of one as per cent, with a thin space before the sign.

    >>> percent(0.8142), percent(0.00308, 2), percent(None)
    ('81.4\\u202f%', '0.31\\u202f%', '–')
    """
    return NOTHING if value is None else f"{100 * value:.{digits}f}\u202f%"


def share(value: Any) -> str:
    """Return a share of the parent's parameters, small ones with two digits that count.

    >>> [share(x).replace("\\u202f", " ") for x in (1, 0.469, 0.0308, 0.00308, 2e-05, 0)]
    ['100 %', '46.9 %', '3.1 %', '0.31 %', '0.002 %', '0 %']
    """
    if value is None:
        return NOTHING
    digits = (
        0 if value >= 0.9995 or value == 0 else 1 if value >= 0.01 else 2 if value >= 0.001 else 3
    )
    return percent(value, digits)


def points(difference: Any) -> str:
    """Return a difference of accuracies in percentage points, with its sign.

    >>> points(-0.0066), points(0.012), points(0.0)
    ('−0.7', '+1.2', '±0.0')
    """
    if difference is None:
        return NOTHING
    text = f"{abs(100 * difference):.1f}"
    sign = "±" if text == "0.0" else "−" if difference < 0 else "+"
    return sign + text


def compared(difference: float) -> str:
    """Return a difference of accuracies as a phrase.

    >>> compared(-0.0066)
    '0.7 points less than'
    """
    text = f"{abs(100 * difference):.1f}"
    if text == "0.0":
        return "just as much as"
    unit = "point" if text == "1.0" else "points"
    return f"{text} {unit} {'less than' if difference < 0 else 'more than'}"


def count(value: Any) -> str:
    """Return a count with separators.

    >>> count(269322)
    '269,322'
    """
    return NOTHING if value is None else f"{value:,.0f}"


def short(value: Any) -> str:
    """Return a count with three digits that count.

    >>> [short(n) for n in (950, 4486, 269322)]
    ['950', '4.49k', '269k']
    """
    return NOTHING if value is None else count_text(float(f"{value:.3g}"))


def number(value: Any) -> str:
    """Return a number with three digits that count.

    >>> number(0.016781), number(12345.6), number(3.7e-09)
    ('0.0168', '12,346', '<0.0001')
    """
    if value is None:
        return NOTHING
    if 0 < value < 1e-4:
        return "<0.0001"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def seconds(value: Any) -> str:
    """Return a duration.

    >>> [seconds(x) for x in (3.53, 75, 5400, 200_000)]
    ['3.5 seconds', '75 seconds', '90 minutes', '55.6 hours']
    """
    if value is None:
        return NOTHING
    if value < 10:
        return f"{value:.1f} seconds"
    if value < 120:
        return f"{value:.0f} seconds"
    return f"{value / 60:.0f} minutes" if value < 7200 else f"{value / 3600:.1f} hours"


def capital(text: str) -> str:
    """Return a text as the beginning of a heading.

    >>> capital("r2 score")
    'R2 score'
    """
    return text[:1].upper() + text[1:]


def end_of(summary: Mapping[str, Any]) -> str:
    """Return what a run did between its search and its end, as its summary tells.

    >>> end_of({"training_samples": {"search": 0, "finalise": 0}}), end_of({})
    ('testing', 'final training')
    """
    samples = summary.get("training_samples") or {}
    return "final training" if samples.get("finalise", 1) else "testing"


def listed(parts: Sequence[str]) -> str:
    """Return parts as a phrase.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def pick_title(word: str) -> str:
    """Return what the child that a word picks is called.

    >>> [pick_title(word) for word in ("best", "within:0.01", "under:26932", "odd")]
    ['Best', 'Smallest within 1 point', 'Most accurate under 26,932 parameters', 'odd']
    """
    rule, _, text = word.partition(":")
    limit = _limit(text)
    if rule == "within" and limit is not None:
        given = f"{100 * limit:g}"
        return f"Smallest within {given} {'point' if given == '1' else 'points'}"
    if rule == "under" and limit is not None:
        return f"Most accurate under {limit:,.0f} parameters"
    return {"best": "Best", "knee": "Knee"}.get(word, word)


def pick_label(word: str) -> str:
    """Return a pick's short name, for a plot.

    >>> [pick_label(word) for word in ("best", "within:0.01", "under:26932")]
    ['best', 'within 1 point', 'under 26.9k']
    """
    rule, _, text = word.partition(":")
    limit = _limit(text)
    if rule == "within" and limit is not None:
        return pick_title(word).removeprefix("Smallest ")
    if rule == "under" and limit is not None:
        return f"under {short(limit)}"
    return word


def event(text: str) -> str:
    """Return what happened to an individual as a phrase.

    >>> event("cxUniformUnits@3"), event("mutResizeGroup")
    ('crossed with one of generation 3 (cxUniformUnits)', 'mutated (mutResizeGroup)')
    """
    name, crossed, generation = text.partition("@")
    if crossed:
        return f"crossed with one of generation {generation} ({name})"
    return f"{'crossed' if name.startswith('cx') else 'mutated'} ({name})"


def _limit(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if 0 <= found < 1e18 else None
