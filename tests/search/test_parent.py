import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from ecomp_deap.data import DatasetSamples, Splits, TensorSamples
from ecomp_deap.errors import ArgumentError, DataError, EvaluationError
from ecomp_deap.exports import export
from ecomp_deap.recipe import Recipe
from ecomp_deap.search import train_parent
from ecomp_deap.search.parent import find_trained_parent, parent_recipe
from ecomp_deap.task import Task
from tests.architectures import equal_states, state_of


@pytest.fixture
def recipe(tiny_splits):
    return parent_recipe(tiny_splits, epochs=3, seed=4)


def leave_behind(out, name, parent, recipe):
    folder = out / name
    folder.mkdir(parents=True)
    metadata = {"source": "trained", "recipe": recipe}
    return export(parent, folder / "parent.safetensors", metadata=metadata)


def test_training_reaches_what_the_data_allow(tiny_splits):
    told = []
    parent = train_parent(tiny_splits, epochs=12, seed=1, on_epoch=lambda: told.append(1))
    test = tiny_splits.test
    assert (parent(test.inputs).argmax(1) == test.targets).double().mean() > 0.8
    assert len(told) == 12
    assert [name for name, _ in parent.named_children()][-1] == "output"
    assert parent.layer_1_linear.in_features == 12
    assert (parent.layer_1_linear.out_features, parent.layer_2_linear.out_features) == (256, 256)
    assert parent.output.out_features == 3
    assert not parent.training


def test_training_depends_on_its_seed(tiny_splits):
    states = [state_of(train_parent(tiny_splits, epochs=1, seed=seed)) for seed in (1, 1, 2)]
    assert equal_states(states[0], states[1])
    assert not equal_states(states[0], states[2])


def test_a_recipe_says_how_parents_train(tiny_splits):
    usual = train_parent(tiny_splits, epochs=1)
    other = train_parent(tiny_splits, epochs=1, recipe=Recipe(learning_rate=1e-4, mixup=0.2))
    assert not equal_states(usual.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (torch.zeros(9, 1, 4, 4), torch.arange(9) % 3),
        (torch.zeros(9, 4), torch.zeros(9)),
        ((torch.zeros(9, 4), torch.zeros(9, 2)), torch.arange(9) % 3),
    ],
)
def test_only_flat_images_with_labels_are_trained_on(inputs, targets):
    samples = TensorSamples(inputs, targets)
    with pytest.raises(DataError, match="data: expected flat images with class labels"):
        train_parent(Splits(samples, samples, None))


def test_data_are_split_as_a_task_splits_them(tiny_splits):
    search = tiny_splits.search
    for given in ((search.inputs, search.targets), TensorDataset(search.inputs, search.targets)):
        splits = Task(classifier(), given).splits
        parents = [train_parent(data, epochs=1) for data in (given, splits)]
        assert equal_states(*map(state_of, parents))
    with pytest.raises(ArgumentError, match=r"^data: expected Samples, .*got <class 'list'>$"):
        train_parent([torch.rand(9, 4)])


def test_recipes_tell_parents_apart(tiny_splits, recipe):
    assert parent_recipe(tiny_splits, epochs=3, seed=4) == recipe
    half = Splits(tiny_splits.search.subset(np.arange(150)), tiny_splits.validation, None)
    others = [
        parent_recipe(tiny_splits, epochs=4, seed=4),
        parent_recipe(tiny_splits, epochs=3, seed=5),
        parent_recipe(half, epochs=3, seed=4),
    ]
    assert recipe not in others


def test_a_parent_that_an_earlier_run_trained_is_found(tmp_path, tiny_parent, recipe):
    path = leave_behind(tmp_path, "first_3", tiny_parent, recipe)
    told = []
    found = find_trained_parent(tmp_path, "first", recipe, tell=told.append)
    assert told == [f"parent: {path}, trained before"]
    assert equal_states(state_of(found), state_of(tiny_parent))


@pytest.mark.parametrize("name", ["other", "firs", "f", "first_1"])
def test_runs_of_another_name_are_passed_over(tmp_path, tiny_parent, recipe, name):
    leave_behind(tmp_path, "first_1", tiny_parent, recipe)
    leave_behind(tmp_path, "first_1_more", tiny_parent, recipe)
    assert find_trained_parent(tmp_path, name, recipe, tell=pytest.fail) is None


def test_another_recipe_is_passed_over(tmp_path, tiny_parent, recipe):
    leave_behind(tmp_path, "first_1", tiny_parent, recipe)
    assert find_trained_parent(tmp_path, "first", {**recipe, "epochs": 4}, tell=print) is None


def damage_tensors(path):
    path.write_bytes(path.read_bytes()[:-4] + b"oops")


def damage_manifest(path):
    path.with_suffix(".json").write_text("{")


def remove_manifest(path):
    path.with_suffix(".json").unlink()


def empty_manifest(path):
    path.with_suffix(".json").write_text("[]")


@pytest.mark.parametrize(
    "damage", [damage_tensors, damage_manifest, remove_manifest, empty_manifest]
)
def test_damaged_parents_are_passed_over(tmp_path, tiny_parent, recipe, damage):
    damage(leave_behind(tmp_path, "first_1", tiny_parent, recipe))
    told = []
    assert find_trained_parent(tmp_path, "first", recipe, tell=told.append) is None
    assert len(told) == 1
    assert "first_1/parent.safetensors is of no use" in told[0]
    leave_behind(tmp_path, "first_2", tiny_parent, recipe)
    assert find_trained_parent(tmp_path, "first", recipe, tell=told.append) is not None


def test_no_runs_no_parent(tmp_path, recipe):
    assert find_trained_parent(tmp_path / "nowhere", "first", recipe, tell=pytest.fail) is None


def classifier():
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


X = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)


def changed(tensor, index, value):
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


class Rows(torch.utils.data.Dataset):
    def __init__(self, inputs, targets):
        self.inputs, self.targets = inputs, targets

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], self.targets[index]


@pytest.mark.parametrize("as_data", [TensorSamples, lambda *pair: DatasetSamples(Rows(*pair))])
@pytest.mark.parametrize(
    ("inputs", "targets", "match"),
    [
        (changed(X, 100, torch.nan), Y, "^search data: .*got nan in the inputs of sample 100$"),
        (X, changed(Y, 100, 9), r"^search targets: .*labels from 0 to 2, .*got 9 \(sample 100\)"),
    ],
)
def test_data_that_nothing_can_learn_from_are_refused(inputs, targets, match, as_data):
    samples = as_data(inputs, targets)
    with pytest.raises(ArgumentError, match=match):
        train_parent(Splits(samples, samples, None), classifier(), epochs=1)


def test_data_of_another_type_than_the_weights_are_told_to_be_converted():
    match = r"^network: .* search data, but inputs are float64, the network float32: inputs.float\("
    with pytest.raises(ArgumentError, match=match):
        train_parent((X.double(), Y), classifier(), epochs=1)


def test_a_training_that_diverges_is_an_error(tiny_splits):
    recipe = Recipe(optimizer="sgd", learning_rate=1e30)
    with pytest.raises(EvaluationError, match=r"^network: expected finite weights after training"):
        train_parent(tiny_splits, epochs=3, recipe=recipe)
