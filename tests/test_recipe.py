import math
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from ecomp_deap import ArgumentError, Recipe
from ecomp_deap.recipe import FINALISE_RECIPE, SEARCH_RECIPE, LossWeights


def cut(inputs, rng):
    return inputs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *[
            ({"learning_rate": value}, "learning_rate: expected a finite number greater than 0")
            for value in (0, -1.0, math.inf, math.nan, True, "0.1", None)
        ],
        ({"loss": "task"}, "loss: expected a mapping from names to weights, got 'task'"),
        ({"loss": {"kl": 1.0}}, "loss: expected names among task, distillation, similarity, got"),
        ({"loss": {"task": -1.0}}, r"loss\['task'\]: expected a finite number of at least 0"),
        ({"loss": {"task": math.nan}}, r"loss\['task'\]: expected a finite number of at least 0"),
        ({"loss": {"task": 0, "similarity": 0}}, "loss: expected a weight above 0"),
        ({"loss": {}}, "loss: expected a weight above 0"),
        ({"optimizer": "lbfgs"}, "optimizer: expected one of adam, adamw, sgd, got 'lbfgs'"),
        ({"optimizer": None}, "optimizer: expected one of"),
        ({"weight_decay": -0.1}, "weight_decay: expected a finite number of at least 0"),
        ({"schedule": "step"}, "schedule: expected one of constant, onecycle, cosine, linear, got"),
        *[
            ({"batch_size": value}, "batch_size: expected a whole number of at least 1, or None")
            for value in (0, 1.5, True, "8")
        ],
        ({"temperature": 0.0}, "temperature: expected a finite number greater than 0"),
        ({"mixup": -0.1}, "mixup: expected a finite number of at least 0"),
        ({"mixup": math.inf}, "mixup: expected a finite number of at least 0"),
        ({"augment": 1}, "augment: expected a callable, or None, got 1"),
        ({"averaging": -0.1}, "averaging: expected a finite number of at least 0"),
        ({"size_power": 1.5}, "size_power: expected a power of at most 1, got 1.5"),
        ({"size_power": -0.5}, "size_power: expected a finite number of at least 0"),
        ({"averaging": 1.1}, "averaging: expected a fraction of at most 1, got 1.1"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        Recipe(**options)


def test_recipes_are_values():
    recipe = Recipe(loss={"distillation": 2, "task": 1}, augment=cut)
    same = Recipe(loss={"task": 1.0, "distillation": 2.0, "similarity": 0}, augment=cut)
    assert recipe == same
    assert hash(recipe) == hash(same)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert recipe != replace(recipe, loss={"task": 1.0})
    with pytest.raises(FrozenInstanceError):
        recipe.mixup = 0.5


def test_what_is_given_cannot_change_a_recipe_later():
    given = {"task": 1.0}
    recipe = Recipe(loss=given)
    given["similarity"] = 1.0
    assert recipe.loss == {"task": 1.0}
    with pytest.raises(TypeError, match="does not support item assignment"):
        recipe.loss["similarity"] = 1.0


def test_weights_read_like_a_mapping_and_print_like_the_command():
    weights = LossWeights({"similarity": 0.5, "task": 1})
    assert list(weights.items()) == [("task", 1.0), ("similarity", 0.5)]
    assert len(weights) == 2
    assert str(weights) == "task=1,similarity=0.5"
    with pytest.raises(KeyError, match="distillation"):
        weights["distillation"]


def test_a_teacher_is_needed_for_all_but_the_tasks_own_loss():
    assert not SEARCH_RECIPE.needs_teacher
    assert not FINALISE_RECIPE.needs_teacher
    for name in ("distillation", "similarity"):
        assert Recipe(loss={"task": 1.0, name: 0.1}).needs_teacher
        assert Recipe(loss={name: 1.0}).needs_teacher
