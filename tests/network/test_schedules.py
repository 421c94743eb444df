import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.network.schedules import n_averaged, rate
from ecomp_deap.recipe import SCHEDULES, Recipe


def rates(schedule, n_steps, learning_rate=0.3):
    recipe = Recipe(learning_rate=learning_rate, schedule=schedule)
    return [rate(recipe, step, n_steps) for step in range(n_steps)]


def rates_of_torch(make, n_steps, learning_rate=0.3):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=learning_rate)
    schedule = make(optimizer)
    found = []
    for _ in range(n_steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


@given(n_steps=st.integers(2, 60))
def test_one_cycle_is_that_of_torch(n_steps):
    def make(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.3, total_steps=n_steps, cycle_momentum=False
        )

    expected = rates_of_torch(make, n_steps)
    assert rates("onecycle", n_steps) == pytest.approx(expected, rel=1e-9)


@given(n_steps=st.integers(1, 60))
def test_cosine_is_that_of_torch(n_steps):
    expected = rates_of_torch(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=n_steps),
        n_steps,
    )
    assert rates("cosine", n_steps) == pytest.approx(expected, rel=1e-6)


def test_linear_falls_by_equal_steps_and_constant_does_not():
    assert rates("linear", 4, 1.0) == [1.0, 0.75, 0.5, 0.25]
    assert rates("constant", 3) == [0.3, 0.3, 0.3]


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(n_steps=st.integers(1, 200))
def test_rates_are_above_0_and_the_highest_is_the_recipes(schedule, n_steps):
    found = rates(schedule, n_steps)
    assert all(0 < value <= 0.3 * (1 + 1e-12) for value in found)
    assert max(found) == pytest.approx(0.3, rel=0.5 if n_steps < 10 else 0.05) or n_steps < 4


@pytest.mark.parametrize(("averaging", "n"), [(0.0, 0), (0.01, 1), (0.25, 3), (0.3, 3), (1.0, 10)])
def test_the_last_fraction_of_the_steps_is_averaged(averaging, n):
    assert n_averaged(Recipe(averaging=averaging), 10) == n
