import copy
import pickle

import numpy as np
import pytest
import torch

from ecomp_deap.genomes import MaskGenome, WeightGenome
from ecomp_deap.genomes.base import Genome, freeze
from ecomp_deap.measurement import Measurement

MEASUREMENT = Measurement(
    metric=0.5,
    similarity_loss=0.1,
    relative_width=0.5,
    param_count=3,
    mac_count=2,
    size_bytes=12,
)


class Marked:
    """Something attached to an individual that changes, as DEAP's fitness does."""

    def __init__(self):
        self.values = [1.0]


class MaskIndividual(MaskGenome):
    """As `deap.creator` makes them."""


class WeightIndividual(WeightGenome):
    """As `deap.creator` makes them."""


def mask_genome(cls=MaskGenome):
    masks = [np.array([True, False, True]), np.array([False, True])]
    return cls(masks, {"a.weight": np.arange(4.0).reshape(2, 2), "a.steps": np.array(3)})


def weight_genome(cls=WeightGenome):
    return cls(
        {
            "first": (np.arange(6.0).reshape(2, 3), np.zeros(2)),
            "output": (np.ones((1, 2)), None),
        }
    )


def arrays_of(genome):
    if isinstance(genome, MaskGenome):
        return [*genome.masks, *(genome.arrays or {}).values()]
    return [array for layer in genome.layers.values() for array in layer if array is not None]


@pytest.fixture(params=[mask_genome, weight_genome])
def make(request):
    return request.param


@pytest.fixture
def individual(make):
    made = make({mask_genome: MaskIndividual, weight_genome: WeightIndividual}[make])
    made.fitness = Marked()
    made.measurement = MEASUREMENT
    return made


@pytest.mark.parametrize(
    "copied",
    [lambda x: x, copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["itself", "copy", "deepcopy", "pickle"],
)
def test_arrays_can_never_be_written(individual, copied):
    found = copied(individual)

    assert arrays_of(found)
    for array in arrays_of(found):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_mappings_of_arrays_cannot_be_written():
    with pytest.raises(TypeError, match="does not support item assignment"):
        mask_genome().arrays["a.weight"] = np.zeros(1)
    with pytest.raises(TypeError, match="does not support item assignment"):
        weight_genome().layers["first"] = (np.zeros((2, 3)), None)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_equal_and_keep_what_is_attached(individual, protocol):
    individual.key()
    loaded = pickle.loads(pickle.dumps(individual, protocol))

    assert type(loaded) is type(individual)
    assert loaded == individual
    assert loaded.key() == individual.key()
    assert loaded.measurement == MEASUREMENT
    assert loaded.fitness.values == [1.0]
    for found, expected in zip(arrays_of(loaded), arrays_of(individual), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_a_deep_copy_shares_arrays_and_nothing_else(individual):
    clone = copy.deepcopy(individual)

    assert type(clone) is type(individual)
    assert clone == individual
    assert all(a is b for a, b in zip(arrays_of(clone), arrays_of(individual), strict=True))
    assert clone.measurement is individual.measurement
    assert clone.fitness is not individual.fitness
    clone.fitness.values.append(2.0)
    assert individual.fitness.values == [1.0]


def test_a_deep_copy_keeps_references_to_itself(individual):
    individual.origin = individual
    assert copy.deepcopy([individual, individual])[1].origin.fitness is not individual.fitness
    first, second = copy.deepcopy([individual, individual])
    assert first is second is first.origin


def test_plain_drops_what_is_attached_and_shares_the_arrays(make, individual):
    plain = individual.plain()

    assert type(plain) is type(make())
    assert not hasattr(plain, "fitness")
    assert not hasattr(plain, "measurement")
    assert all(a is b for a, b in zip(arrays_of(plain), arrays_of(individual), strict=True))
    assert plain.plain() is plain
    assert individual.fitness.values == [1.0]


def test_a_plain_class_with_attachments_is_not_plain(make):
    genome = make()
    assert genome.plain() is genome
    genome.fitness = Marked()
    assert not hasattr(genome.plain(), "fitness")


def test_an_individual_has_the_key_of_its_plain_genome(make, individual):
    assert individual.key() == individual.plain().key() == make().key()
    assert individual == make()
    assert make() == individual
    # Also where the plain genome is taken before the key is known.
    plain = make(type(individual)).plain()
    assert plain.key() == individual.key()


def test_genomes_of_two_types_differ():
    assert mask_genome() != weight_genome()
    assert mask_genome().key() != weight_genome().key()
    assert mask_genome() != "a genome"
    assert mask_genome().__eq__(3) is NotImplemented


def test_genomes_cannot_be_hashed_but_their_keys_can(individual):
    with pytest.raises(TypeError, match="unhashable"):
        hash(individual)
    assert {individual.key(): 1}[individual.plain().key()] == 1


def test_rebinding_a_clone_leaves_the_original_alone(make):
    genome = make()
    key = genome.key()
    clone = copy.deepcopy(genome)
    if isinstance(clone, MaskGenome):
        clone.rebind([np.array([True, True, True]), np.array([True, True])])
    else:
        clone.rebind({"first": (np.zeros((2, 3)), None), "output": (np.zeros((1, 2)), None)})

    assert genome.key() == key
    assert clone.key() != key
    assert genome == make()


def test_the_base_class_is_abstract():
    class Nothing(Genome):
        _key = None

    for ask in (lambda g: g.widths, lambda g: g.plain(), lambda g: g._content(), Genome.key):
        with pytest.raises(NotImplementedError, match=r"^$"):
            ask(Nothing())


def owned():
    return np.arange(4.0)


def frozen_view_of_writeable():
    view = np.arange(8.0)[::2]
    view.flags.writeable = False
    return view


@pytest.mark.parametrize("make_array", [owned, frozen_view_of_writeable, lambda: owned()[1:]])
def test_freeze_copies_what_could_be_written_elsewhere(make_array):
    array = make_array()
    expected = array.copy()
    frozen = freeze(array)
    (array if array.base is None else array.base)[...] = -1

    assert not frozen.flags.writeable
    np.testing.assert_array_equal(frozen, expected)


def test_freeze_leaves_the_argument_writeable():
    array = owned()
    freeze(array)
    array[0] = 5.0
    assert array[0] == 5.0


def test_freeze_shares_what_is_read_only():
    array = owned()
    array.flags.writeable = False
    view = array[1:]

    assert freeze(array) is array
    assert freeze(view) is view
    assert freeze(freeze([1, 2])).tolist() == [1, 2]


def test_freeze_copies_the_memory_of_a_tensor():
    tensor = torch.zeros(3)
    array = tensor.numpy()
    array.flags.writeable = False
    for frozen in (freeze(tensor), freeze(array), freeze(tensor.numpy())):
        tensor += 1
        assert not frozen.flags.writeable
        assert frozen.tolist() != tensor.tolist()
