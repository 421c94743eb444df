import pytest

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
