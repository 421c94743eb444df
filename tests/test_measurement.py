import dataclasses
import pickle

import numpy as np
import pytest

from ecomp_deap.errors import ArgumentError
from ecomp_deap.measurement import Measurement

NUMBERS = {
    "metric": 0.9,
    "similarity_loss": 0.25,
    "relative_width": 0.5,
    "param_count": 120,
    "mac_count": 100,
    "size_bytes": 480,
}


def test_it_reads_like_a_mapping():
    found = Measurement(**NUMBERS)

    assert dict(found) == {"accuracy": 0.9} | {k: v for k, v in NUMBERS.items() if k != "metric"}
    assert list(found) == ["accuracy", *list(NUMBERS)[1:]]
    assert len(found) == len(list(found)) == 6
    assert found.failed is False
    assert found.reason == ""


def test_the_metric_goes_by_its_own_name():
    found = Measurement(**NUMBERS, metric_name="rmse")

    assert found["rmse"] == found.metric == 0.9
    assert next(iter(found)) == "rmse"
    for name in ("accuracy", "metric"):
        assert name not in found
        with pytest.raises(KeyError, match=name):
            found[name]


@pytest.mark.parametrize("name", ["failed", "reason", "metric_name", "metric", "keys"])
def test_only_numbers_are_found_by_name(name):
    found = Measurement(**NUMBERS)
    assert name not in found
    with pytest.raises(KeyError, match=name):
        found[name]


def test_a_metric_may_be_called_metric():
    found = Measurement(**NUMBERS, metric_name="metric")
    assert found["metric"] == 0.9


@pytest.mark.parametrize("name", ["param_count", "similarity_loss"])
def test_a_metric_with_the_name_of_another_number_is_refused(name):
    with pytest.raises(ArgumentError, match=f"metric_name: expected .*got '{name}'"):
        Measurement(**NUMBERS, metric_name=name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_not_finite_is_refused(name, value):
    shown = "accuracy" if name == "metric" else name
    with pytest.raises(ArgumentError, match=f"{shown}: expected a finite number, got"):
        Measurement(**NUMBERS | {name: value})


def test_it_is_immutable_and_pickles():
    found = Measurement(**NUMBERS, failed=True, reason="outputs are not finite")
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field"):
        found.metric = 1.0

    loaded = pickle.loads(pickle.dumps(found))
    assert loaded == found
    assert (loaded.failed, loaded.reason) == (True, "outputs are not finite")
    assert found != Measurement(**NUMBERS)
    assert hash(found) == hash(loaded)


def test_a_latency_is_a_number_of_it_where_it_was_measured():
    found = Measurement(**NUMBERS, latency_ms=0.5)
    assert found["latency_ms"] == 0.5
    assert list(found)[-1] == "latency_ms"
    assert len(found) == len(list(found)) == 7
    with pytest.raises(KeyError, match="latency_ms"):
        Measurement(**NUMBERS)["latency_ms"]


@pytest.mark.parametrize("name", ["latency_ms", "violation"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_limits_need_is_finite_as_well(name, value):
    with pytest.raises(ArgumentError, match=f"{name}: expected a finite number, got"):
        Measurement(**NUMBERS, **{name: value})


def test_a_violation_is_no_number_to_select_by():
    found = Measurement(**NUMBERS, violation=0.25)
    assert found.violation == 0.25
    assert "violation" not in found
