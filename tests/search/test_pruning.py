import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.search.pruning import (
    global_widths,
    keep,
    log_sizes,
    magnitudes,
    random_widths,
    uniform_widths,
)

LIMITS = (20, 60, 100, 150, 222, 300, 407, 1000)


@pytest.fixture(params=[{}, {"round_to": 4}, {"min_units": 3}, {"prune_inputs": True}])
def evaluator(request, tiny_task):
    """Of the parent 12-16-12-3, where input features can go, or not all numbers of units do."""
    return Evaluator(tiny_task(**request.param))


def params_of(evaluator, widths):
    return evaluator.cost_model(widths).param_count


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(2, 30), st.data())
def test_sizes_are_even_on_a_log_scale_and_hold_what_they_must(low, more, n, data):
    high = low + more
    sizes = log_sizes(low, high, n)
    assert (sizes[0], sizes[-1], len(sizes)) == (low, high, n)
    assert np.allclose(np.diff(np.log(sizes)), np.log(high / low) / (n - 1), atol=1 / low)
    among = data.draw(st.lists(st.integers(low, high), max_size=n, unique=True))
    found = log_sizes(low, high, n, [*among, low - 1, high + 1])
    assert len(found) == n
    assert found == sorted(found)
    assert {*among} <= {*found} <= {*among, *sizes}
    if len(among) <= n - 2:
        assert (found[0], found[-1]) == (low, high)


@pytest.mark.parametrize("inputs", [False, True])
def test_uniform_pruning_keeps_the_largest_equal_fractions(evaluator, inputs):
    groups = evaluator.structure.groups
    tried = set()
    for rate in np.linspace(0, 1, 5000, endpoint=False):
        tried.add(
            tuple(
                g.n_units
                if g.is_input and not inputs
                else g.nearest(g.n_units - int(rate * g.n_units))
                for g in groups
            )
        )
    for limit in LIMITS:
        fitting = [w for w in tried if params_of(evaluator, w) <= limit]
        best = max(fitting, key=lambda w: params_of(evaluator, w), default=None)
        assert uniform_widths(limit, evaluator, inputs=inputs) == best


def test_magnitudes_are_mean_absolute_weights(tiny_task):
    evaluator = Evaluator(tiny_task(prune_inputs=True))
    arrays = evaluator.arrays
    first, second = arrays["layer_1_linear.weight"], arrays["layer_2_linear.weight"]
    inputs, one, two = magnitudes(evaluator)
    assert np.allclose(inputs, np.abs(first).mean(axis=0))
    assert np.allclose(one, np.abs(first).mean(axis=1))
    assert np.allclose(two, np.abs(second).mean(axis=1))


def test_global_pruning_removes_the_smallest_units_of_all(evaluator):
    """The slow twin: one unit after the other, the smallest of all that are left."""
    groups = evaluator.structure.groups
    left = [list(values) for values in magnitudes(evaluator)]
    tried = [tuple(g.n_units for g in groups)]
    while any(left):
        smallest = min((v, i) for i, values in enumerate(left) for v in values)
        left[smallest[1]].remove(smallest[0])
        tried.append(tuple(g.nearest(len(values)) for g, values in zip(groups, left, strict=True)))
    for limit in LIMITS:
        fitting = [w for w in tried if params_of(evaluator, w) <= limit]
        best = max(fitting, key=lambda w: params_of(evaluator, w), default=None)
        assert global_widths(limit, evaluator) == best
        if best is not None:
            assert all(n >= g.min_units for n, g in zip(best, groups, strict=True))


def test_kept_are_the_most_important_units():
    genome = keep((2, 1), [np.array([0.5, 3.0, 1.0]), np.array([2.0, 7.0])])
    assert [mask.tolist() for mask in genome.masks] == [[False, True, True], [False, True]]


def test_random_widths_are_allowed_and_as_often_small_as_large(evaluator):
    rng = np.random.default_rng(0)
    drawn = np.array([random_widths(evaluator.structure, rng) for _ in range(2000)])
    for widths, group in zip(drawn.T, evaluator.structure.groups, strict=True):
        assert {*widths.tolist()} <= {*group.allowed}
        assert {*widths.tolist()} == {*group.allowed}
        middle = np.sqrt(group.allowed[0] * group.n_units)
        assert 0.3 < (widths <= middle).mean() < 0.75


def test_limits_that_nothing_keeps_give_nothing(evaluator):
    smallest = params_of(evaluator, evaluator.cost_model.smallest)
    for widths_of in (
        lambda limit: global_widths(limit, evaluator),
        lambda limit: uniform_widths(limit, evaluator, inputs=True),
    ):
        assert widths_of(smallest - 1) is None
        assert widths_of(smallest) == evaluator.cost_model.smallest


def test_larger_limits_never_give_smaller_children(evaluator):
    for rule in (
        lambda limit: global_widths(limit, evaluator),
        lambda limit: uniform_widths(limit, evaluator, inputs=False),
    ):
        found = [params_of(evaluator, w) for w in map(rule, range(50, 420, 7)) if w is not None]
        assert all(a <= b for a, b in itertools.pairwise(found))
