import numpy as np
import pytest

from ecomp_deap.callbacks import Callback
from ecomp_deap.search import Finisher, compress
from ecomp_deap.search.filling import NEAR, fill
from ecomp_deap.toolbox import make_toolbox
from tests.architectures import equal_states, state_of


def evaluated(task, n=6, **options):
    toolbox = make_toolbox(task, **options)
    individuals = toolbox.population(n=n)
    for individual, values in zip(
        individuals, toolbox.map(toolbox.evaluate, individuals), strict=True
    ):
        individual.fitness.values = values
    return toolbox, individuals


def count(toolbox, individual):
    return toolbox.evaluator.cost_model(individual.widths).param_count


@pytest.mark.parametrize("genome", ["mask", "width"])
@pytest.mark.parametrize("round_to", [1, 3])
def test_children_just_keep_the_number_of_parameters(tiny_task, genome, round_to):
    task = tiny_task(prune_inputs=True, round_to=round_to)
    toolbox, individuals = evaluated(task, n=12, genome=genome)
    groups, cost_model = toolbox.evaluator.structure.groups, toolbox.evaluator.cost_model
    n_found = 0
    for wanted in range(60, 440, 20):
        found = fill(individuals, [wanted], toolbox, 3)
        n_found += bool(found)
        for individual in found:
            assert NEAR * wanted <= count(toolbox, individual) <= wanted
            assert not individual.fitness.valid
            for i, (group, width) in enumerate(zip(groups, individual.widths, strict=True)):
                assert group.nearest(width) == width
                if width < group.n_units:  # no group could grow
                    wider = [*individual.widths]
                    wider[i] = group.bounds(width + 1)[1]
                    assert cost_model(wider).param_count > wanted
        together = fill(individuals, [100, wanted], toolbox, 3)
        assert {i.widths for i in found} <= {i.widths for i in together}
    assert n_found >= (19 if round_to == 1 else 10)


def test_units_go_and_come_by_importance_and_what_was_learnt_stays(tiny_task):
    toolbox, individuals = evaluated(tiny_task(train_steps=2, inherit=True))
    importance = toolbox.evaluator.importance
    individual = individuals[2]
    size = count(toolbox, individual)
    masks = [mask.copy() for mask in individual.masks]
    for wanted, grows in ((size // 2, False), (size * 3 // 2, True)):
        (resized,) = fill([individual], [wanted], toolbox, 1)
        for before, mask, new, values in zip(
            masks, individual.masks, resized.masks, importance, strict=True
        ):
            assert (mask == before).all()
            assert (mask <= new if grows else new <= mask).all()
            changed, same = (new & ~mask, ~new) if grows else (mask & ~new, new)
            if changed.any() and same.any():
                sign = -1 if grows else 1
                assert (sign * values[changed]).max() <= (sign * values[same]).min()
        units = np.flatnonzero(resized.masks[0] & individual.masks[0])
        own = dict(
            zip(individual.kept[0].tolist(), individual.arrays["layer_1_linear.bias"], strict=True)
        )
        new = dict(
            zip(resized.kept[0].tolist(), resized.arrays["layer_1_linear.bias"], strict=True)
        )
        assert all(own[unit] == new[unit] for unit in units)


def test_the_nearest_of_different_widths_are_resized(tiny_task):
    toolbox, individuals = evaluated(tiny_task(), genome="width", n=4)
    twins = [individual for individual in individuals for _ in range(3)]
    wanted = count(toolbox, individuals[1])
    (found,) = fill(twins, [wanted], toolbox, 1)
    assert found.widths == individuals[1].widths
    assert fill(individuals, [1], toolbox, 3) == []  # no child is so small
    marked = [toolbox.clone(individual) for individual in twins]
    for place, individual in enumerate(marked):
        individual.place = place
    assert fill(marked, [wanted], toolbox, 1)[0].place == 3  # of equal widths the first
    assert fill(individuals, [], toolbox, 3) == []


def test_weights_are_not_resized(tiny_task):
    toolbox, individuals = evaluated(tiny_task(), genome="weights", loss_weights=(1, 2, 1))
    assert fill(individuals, [100], toolbox, 2) == []


@pytest.mark.parametrize("genome", ["mask", "width"])
def test_a_search_ends_with_trained_children_of_the_sizes_wanted(tiny_task, genome):
    sizes = (90, 150)
    task = tiny_task(train_steps=1)
    options = {"genome": genome, "population": 8, "generations": 2, "finalise_epochs": 30}
    result = compress(task, finalise_count=4, finalise_sizes=sizes, **options)
    for size in sizes:
        near = [c for c in result.front if 0.9 * size <= c.validation.param_count <= size]
        assert any(child.validation_before is not None for child in near)


def test_resized_children_that_keep_what_they_learnt_learn_as_they_are_now(tiny_task):
    toolbox, individuals = evaluated(tiny_task(train_steps=3, inherit=True))
    finish, counters = Finisher(toolbox, Callback()), toolbox.counters
    (resized,) = fill(individuals, [200], toolbox, 1)
    taken = counters.training_samples
    (plain,) = finish.score([resized])
    assert counters.training_samples == taken
    (trained,) = finish.score([resized], resized=True)
    assert counters.training_samples == taken + toolbox.evaluator.task.step_samples
    assert not equal_states(state_of(plain.module), state_of(trained.module))
