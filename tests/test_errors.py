from collections import OrderedDict

import numpy as np
import pytest
import torch

from ecomp_deap import errors
from ecomp_deap.errors import (
    ArgumentError,
    DataError,
    EcompError,
    EvaluationError,
    SelectionError,
    argument_error,
)


def test_every_error_derives_from_the_one():
    classes = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]

    assert set(classes) == {EcompError, ArgumentError, DataError, EvaluationError, SelectionError}
    assert all(issubclass(cls, EcompError) for cls in classes)


@pytest.mark.parametrize("cls", [ArgumentError, SelectionError])
def test_wrong_arguments_are_value_errors_too(cls):
    assert issubclass(cls, ValueError)
    assert not issubclass(DataError, ValueError)


@pytest.mark.parametrize(
    ("got", "shown"), [(0.5, "0.5"), ("x", "'x'"), (None, "None"), ((1, 2), r"\(1, 2\)")]
)
def test_a_message_names_the_argument_what_was_expected_and_what_came(got, shown):
    with pytest.raises(ArgumentError, match=rf"^rate: expected a number in \[0, 1\], got {shown}$"):
        raise argument_error("rate", "a number in [0, 1]", got)


@pytest.mark.parametrize(
    ("got", "shown"),
    [
        (torch.rand(16, 3), "a tensor of float32 (16, 3)"),
        (torch.nn.Parameter(torch.rand(2)), "a tensor of float32 (2,)"),
        (np.zeros((4, 1)), "an array of float64 (4, 1)"),
        (torch.tensor(0.25), "tensor(0.2500)"),
        (np.float64(0.25), repr(np.float64(0.25))),
        (torch.Tensor, "<class 'torch.Tensor'>"),
        (torch.nn.UninitializedParameter(), "<UninitializedParameter>"),
        ((torch.rand(2, 3), np.zeros(2)), "(a tensor of float32 (2, 3), an array of float64 (2,))"),
        ([torch.zeros(2), "x"], "[a tensor of float32 (2,), 'x']"),
        ([torch.zeros(2)] * 1000, f"[{'a tensor of float32 (2,), ' * 100}"[:500] + "…"),
        ({"a": torch.zeros(2), "b": 1}, "{'a': a tensor of float32 (2,), 'b': 1}"),
        (OrderedDict(a=(torch.zeros(2),)), "{'a': (a tensor of float32 (2,),)}"),
        ([1, (2.5,), {"a": None}, "b" * 90], f"[1, (2.5,), {{'a': None}}, '{'b' * 90}']"),
    ],
)
def test_a_message_has_no_numbers_of_tensors(got, shown):
    message = str(argument_error("data", "samples", got))

    assert message == f"data: expected samples, got {shown}"


def test_a_container_of_itself_is_named_too():
    own = [torch.zeros(2)]
    own.append(own)

    assert "got [a tensor of float32 (2,), [" in str(argument_error("data", "samples", own))


def test_a_hint_ends_a_message():
    error = argument_error("data", "samples", "loader", hint="give its dataset")

    assert str(error) == "data: expected samples, got 'loader'; give its dataset"
