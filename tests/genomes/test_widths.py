import copy
import pickle

import numpy as np
import pytest

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome, WidthGenome


def test_it_is_equal_to_what_has_the_same_widths():
    assert WidthGenome([3, 4]) == WidthGenome((3, 4))
    assert WidthGenome([3, 4]) != WidthGenome([4, 3])
    assert WidthGenome([3, 4]).key() != WidthGenome([3]).key()
    assert WidthGenome([1]) != MaskGenome([np.array([True])])


def test_copies_are_independent_and_pickles_come_back():
    genome = WidthGenome([3, 4])
    clone = copy.deepcopy(genome)
    clone.rebind([1, 2])
    assert genome.widths == (3, 4)
    assert pickle.loads(pickle.dumps(genome)) == genome
    assert repr(genome) == "WidthGenome(3, 4)"


def test_the_most_important_units_stay():
    masks = WidthGenome([2, 1]).unfold([np.array([3, 0, 2, 1]), np.array([1, 0])]).masks
    assert [mask.tolist() for mask in masks] == [[True, False, False, True], [False, True]]


@pytest.mark.parametrize("widths", [[5, 1], [1], [1, 1, 1]])
def test_widths_that_do_not_fit_the_ranking_are_refused(widths):
    with pytest.raises(ArgumentError, match=r"widths: expected at most \(4, 2\), got"):
        WidthGenome(widths).unfold([np.arange(4), np.arange(2)])


@pytest.mark.parametrize(
    ("widths", "message"), [([], "widths: "), ([0], "widths.0."), ([1.5], "w")]
)
def test_what_is_no_widths_is_refused(widths, message):
    with pytest.raises(ArgumentError, match=message):
        WidthGenome(widths)


def test_what_was_attached_is_left_behind():
    class Individual(WidthGenome):
        pass

    individual = Individual([2])
    individual.fitness = 3
    plain = individual.plain()
    assert type(plain) is WidthGenome
    assert plain == individual
    assert not hasattr(plain, "fitness")
