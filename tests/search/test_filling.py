import numpy as np
import pytest

from ecomp_deap.search import compress
from ecomp_deap.search.filling import fill
from ecomp_deap.toolbox import make_toolbox


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
def test_children_just_keep_the_number_of_parameters(tiny_task, genome):
    toolbox, individuals = evaluated(tiny_task(prune_inputs=True), genome=genome)
    for wanted in (100, 160):
        found = fill(individuals, [wanted], toolbox, 2)
        assert 1 <= len(found) <= 2
        for individual in found:
            assert 0.8 * wanted < count(toolbox, individual) <= wanted
            assert not individual.fitness.valid
            groups = toolbox.evaluator.structure.groups
            assert all(g.nearest(w) == w for g, w in zip(groups, individual.widths, strict=True))
        together = fill(individuals, [100, 160], toolbox, 2)
        assert {i.widths for i in found} <= {i.widths for i in together}


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
