"""Seen to fail without what protects: experiments/reliability/protections.py."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ecomp_deap.errors import ArgumentError
from ecomp_deap.recipe import LossWeights
from ecomp_deap.runs.kinds import (
    Choice,
    Flag,
    FolderName,
    Integer,
    Location,
    Losses,
    Names,
    Number,
    Uri,
    Weights,
)


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        (Integer(4), 4, 4),
        (Integer(0, 7), np.int64(7), 7),
        (Number(minimum=0, maximum=1), 1, 1.0),
        (Number(minimum=0, maximum=1), np.float32(0.5), 0.5),
        (Number(above=1), Fraction(3, 2), 1.5),
        (Choice(("a", "b")), "b", "b"),
        (Flag(), False, False),
        (Names(), ["a"], ("a",)),
        (Names(2, ("a", "b", "c")), ("c", "a"), ("c", "a")),
        (Weights(), [0, 2, 1], (0.0, 2.0, 1.0)),
        (Losses(), {"similarity": 2, "task": 1}, LossWeights({"task": 1.0, "similarity": 2.0})),
        (Location(), "a/b", Path("a/b")),
        (Location(), Path("a"), Path("a")),
        (FolderName(), "_1-a.B", "_1-a.B"),
        (Uri(), "sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        (Uri(), "http://user@host:5000/a:b@c", "http://user@host:5000/a:b@c"),
    ],
)
def test_check_returns_the_final_type(kind, value, result):
    checked = kind.check("option", value)
    assert checked == result
    assert type(checked) is type(result)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Integer(4), 3),
        (Integer(4), 4.0),
        (Integer(0), True),
        (Integer(0), "1"),
        (Integer(0), np.bool_(True)),
        (Integer(0, 7), 8),
        (Number(above=1), 1),
        (Number(above=0), math.nan),
        (Number(above=0), math.inf),
        (Number(above=0), 10**400),
        (Number(minimum=0, maximum=1), -1e-9),
        (Number(minimum=0, maximum=1), 1.0001),
        (Number(minimum=0, maximum=1), True),
        (Number(minimum=0, maximum=1), "0.5"),
        (Choice(("a",)), "A"),
        (Choice(("a",)), ["a"]),
        (Flag(), 1),
        (Flag(), "true"),
        (Names(), []),
        (Names(), "a"),
        (Names(), ["a", "a"]),
        (Names(), ["a", ""]),
        (Names(), [1]),
        (Names(2), ["a"]),
        (Names(2, ("a", "b")), ["a", "c"]),
        (Weights(), (0, 0, 0)),
        (Weights(), (1, 2)),
        (Weights(), (1, -1, 1)),
        (Weights(), (1, math.nan, 1)),
        (Weights(), (math.inf, 1, 1)),
        (Weights(), "1,2,1"),
        (Weights(), (True, 1, 1)),
        (Location(), ""),
        (Location(), "a\0b"),
        (Location(), "half a letter: \ud800"),
        (Location(), 3),
        (Uri(), ""),
        (Uri(), "a b"),
        (Uri(), "a\n"),
        (Uri(), "a" * 401),
        (Uri(), "mysql://user:word@host/db"),
        (Uri(), Path("a")),
        (FolderName(), ""),
        (FolderName(), ".a"),
        (FolderName(), "a/b"),
        (FolderName(), "a b"),
        (FolderName(), "é"),
        (FolderName(), "a\n"),
        (FolderName(), "a" * 201),
        (FolderName(), 3),
    ],
)
def test_check_refuses_and_says_what_was_expected(kind, value):
    with pytest.raises(ArgumentError, match="option: expected ") as caught:
        kind.check("option", value)
    assert str(caught.value) == f"option: expected {kind.expected}, got {value!r}"


@pytest.mark.parametrize(
    ("kind", "text", "result"),
    [
        (Integer(4), "12", 12),
        (Number(above=0), "1e-3", 1e-3),
        (Choice(("a", "b")), "a", "a"),
        (Names(), "a, b", ("a", "b")),
        (Weights(), "1, 2.5,0", (1.0, 2.5, 0.0)),
        (Location(), "a", Path("a")),
    ],
)
def test_parse_reads_a_shell_word(kind, text, result):
    assert kind.parse("--option", text) == result


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Integer(4), "4.5"),
        (Integer(4), ""),
        (Number(above=0), "fast"),
        (Number(above=0), "nan"),
        (Names(), ""),
        (Names(), "a,,b"),
        (Weights(), "1,2"),
        (Weights(), "1,2,c"),
    ],
)
def test_parse_refuses_and_calls_the_option_as_asked(kind, text):
    with pytest.raises(ArgumentError, match=r"^--option: expected ") as caught:
        kind.parse("--option", text)
    assert kind.expected in str(caught.value)


@pytest.mark.parametrize(
    "text", ["task", "task=", "task=a", "=1", "task=1,task=2", "task=1=2", "task=1,", "kl=1", ""]
)
def test_losses_are_read_from_pairs_of_names_and_weights(text):
    found = Losses().parse("--train-loss", "task=1, distillation=0.5")
    assert found == {"task": 1.0, "distillation": 0.5}
    with pytest.raises(ArgumentError, match="--train-loss: expected weights of at least 0, not"):
        Losses().parse("--train-loss", text)
