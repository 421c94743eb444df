"""How a page puts a task's metric into words: accuracy as per cent, others by their own name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecomp_deap.report import _words as words
from ecomp_deap.runs.directory import metric_of

ACCURACY = "accuracy"


@dataclass(frozen=True)
class MetricWords:
    """What is said of a metric.

    Attributes:
        column: Its name in files.
        maximise: Whether more of it is better.
    """

    column: str
    maximise: bool = True

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> "MetricWords":
        """Return those of the metric that a run's summary has, see `metric_of`.

        >>> MetricWords.of({"metric": {"name": "error", "maximise": False}})
        MetricWords(column='error', maximise=False)
        """
        metric = metric_of(summary)
        return cls(metric["name"], metric["maximise"])

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a fraction of the samples, which is said as per cent."""
        return self.column == ACCURACY

    @property
    def name(self) -> str:
        """What it is called in a sentence."""
        return self.column.replace("_", " ")

    @property
    def full_name(self) -> str:
        """What it is called where it is to be known which way is better."""
        return self.name if self.maximise else f"{self.name} (less is better)"

    def gain(self, value: float) -> float:
        """Return a value so that more of it is better.

        >>> MetricWords("error", maximise=False).gain(0.25)
        -0.25
        """
        return value if self.maximise else -value

    def title(self, samples: str = "") -> str:
        """Return its name as a heading, with what it is measured on where that is given.

        >>> MetricWords("accuracy").title("test"), MetricWords("r2_score").title()
        ('Test accuracy', 'R2 score')
        """
        return words.capital(f"{samples} {self.name}".strip())

    def text(self, value: Any, digits: int = 1) -> str:
        """Return a value, accuracies with so many digits behind the point.

        >>> MetricWords("r2").text(0.81234), MetricWords("accuracy").text(0.81234)
        ('0.8123', '81.2\\u202f%')
        """
        if self.is_accuracy or value is None:
            return words.percent(value, digits)
        return f"{value:.4g}"

    def phrase(self, value: Any, samples: str = "") -> str:
        """Return a value with its name.

        >>> MetricWords("r2").phrase(0.8, "test"), MetricWords("accuracy").phrase(0.8)
        ('test r2 0.8', '80.0\\u202f% accuracy')
        """
        name = f"{samples} {self.name}".strip()
        return f"{self.text(value)} {name}" if self.is_accuracy else f"{name} {self.text(value)}"

    def difference(self, value: float) -> str:
        """Return a difference with its sign.

        >>> MetricWords("r2").difference(-0.0301), MetricWords("accuracy").difference(-0.0301)
        ('−0.0301', '−3.0 points')
        """
        if self.is_accuracy:
            return f"{words.points(value)} points"
        sign = "±" if value == 0 else "−" if value < 0 else "+"
        return f"{sign}{abs(value):.3g}"

    def compared(self, difference: float) -> str:
        """Return a difference as a phrase.

        >>> MetricWords("r2").compared(-0.03), MetricWords("accuracy").compared(-0.03)
        ('0.03 less than', '3.0 points less than')
        """
        if self.is_accuracy:
            return words.compared(difference)
        if difference == 0:
            return "just as much as"
        return f"{abs(difference):.3g} {'less' if difference < 0 else 'more'} than"

    def at_most(self, loss: float) -> str:
        """Return how much worse than the parent's a value may be, as a phrase.

        >>> MetricWords("accuracy").at_most(0.01), MetricWords("error", False).at_most(0.02)
        ('at most 1 point below', 'at most 0.02 above')
        """
        return f"at most {self.amount(loss)} {'below' if self.maximise else 'above'}"

    def amount(self, value: float) -> str:
        """Return a difference without its sign.

        >>> MetricWords("accuracy").amount(0.015), MetricWords("error").amount(0.015)
        ('1.5 points', '0.015')
        """
        if not self.is_accuracy:
            return f"{value:.3g}"
        text = f"{100 * value:.3g}"
        return f"{text} {'point' if text == '1' else 'points'}"

    def pick_title(self, word: str) -> str:
        """Return what the child that a word picks is called.

        >>> MetricWords("r2").pick_title("within:0.01"), MetricWords("r2").pick_title("under:900")
        ('Smallest within 0.01', 'Best r2 under 900 parameters')
        """
        title = words.pick_title(word)
        if self.is_accuracy or title == word:
            return title
        rule, _, limit = word.partition(":")
        if rule == "within":
            return f"Smallest within {float(limit):g}"
        return title.replace("Most accurate", f"Best {self.name}", 1)

    def pick_titles(self, picks: Sequence[str]) -> str:
        """Return what the child that some words pick is called.

        >>> MetricWords("accuracy").pick_titles(["best", "knee"])
        'Best and knee'
        """
        first, *others = map(self.pick_title, picks)
        return words.listed([first, *(title[:1].lower() + title[1:] for title in others)])

    def pick_label(self, word: str) -> str:
        """Return a pick's short name, for a plot.

        >>> MetricWords("r2").pick_label("within:0.01"), MetricWords("r2").pick_label("under:26932")
        ('within 0.01', 'under 26.9k')
        """
        if word.startswith("within:"):
            return self.pick_title(word).removeprefix("Smallest ")
        return words.pick_label(word)
