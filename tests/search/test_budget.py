import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.recipe import Recipe
from ecomp_deap.search import compress
from ecomp_deap.search.budget import Budget, plan

SMALL = {"population": 8, "generations": 3}


def test_a_search_without_training_takes_what_finalising_does(tiny_task):
    result = compress(tiny_task(), finalise_count=3, finalise_epochs=2, **SMALL)
    budget = Budget.of(result)
    assert budget.search_samples == 0
    assert budget.finalise_samples == budget.samples == 3 * 2 * 300
    assert budget.evaluations == result.toolbox.counters.evaluations


@pytest.mark.parametrize("batch_size", [None, 17])
@pytest.mark.parametrize("inherit", [False, True])
def test_gradient_steps_count_for_each_child_that_takes_them(tiny_task, inherit, batch_size):
    training = Recipe(batch_size=batch_size)
    task = tiny_task(train_steps=2, inherit=inherit, training=training)
    result = compress(task, finalise_count=0, **SMALL)
    counters = result.toolbox.counters
    steps = 2 * (batch_size or 30)
    taken = Budget.of(result).search_samples
    assert taken % steps == 0
    children = taken // steps
    if inherit:  # survivors are scored again as they are, and no one trains once more at the end
        assert children < counters.evaluations
        assert children >= counters.evaluations - counters.rescored
    else:
        assert children > counters.evaluations


@pytest.mark.parametrize("name", ["search_samples", "finalise_samples", "evaluations"])
def test_numbers_below_0_are_refused(name):
    numbers = {"search_samples": 0, "finalise_samples": 0, "evaluations": 0, name: -1}
    with pytest.raises(ArgumentError, match=f"{name}: expected a whole number of at least 0"):
        Budget(**numbers)


@given(
    st.integers(0, 10**6),
    st.integers(1, 1000),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 60),
)
def test_a_plan_can_be_paid(samples, n_samples, n_children, n_rates, n_tried, max_epochs):
    found, tried, trial_epochs = plan(
        samples,
        n_samples=n_samples,
        n_children=n_children,
        n_rates=n_rates,
        n_tried=n_tried,
        max_epochs=max_epochs,
    )
    trials = tried * n_rates * trial_epochs * n_samples
    assert trials <= samples / 4
    assert 0 <= trial_epochs <= max_epochs
    assert 1 <= tried <= n_tried
    if tried < n_tried:  # no more could be tried
        assert (tried + 1) * n_rates * n_samples > samples / 4
    epochs = (samples - trials) // n_samples
    if epochs and max_epochs:
        assert 1 <= found <= epochs  # an epoch for each
        if epochs >= n_children:
            assert found >= n_children
        assert epochs // found <= max_epochs or found == n_children or epochs % found > 0
    else:
        assert found == n_children
