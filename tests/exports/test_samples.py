import json

import pytest
import torch

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.exports.samples import describe_inputs, make_example, n_samples, with_samples

EXAMPLES = [
    torch.arange(6.0).reshape(3, 2),
    (torch.zeros(3, 1, 4, dtype=torch.float64), torch.arange(3)),
    {"shape": torch.zeros(3, 2, dtype=torch.float16), "mask": torch.ones(3, 5, dtype=torch.bool)},
]


def specifications(example):
    parts = example.values() if isinstance(example, dict) else example
    parts = [example] if isinstance(example, torch.Tensor) else parts
    return [(part.shape, part.dtype) for part in parts]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_made_of_their_descriptions(example):
    made = make_example(json.loads(json.dumps(describe_inputs(example))), 3)
    assert type(made) is type(example)
    assert specifications(made) == specifications(example)
    assert not isinstance(example, dict) or made.keys() == example.keys()


def test_made_examples_are_random_numbers_that_repeat_and_indices_that_exist():
    inputs = describe_inputs((torch.zeros(1, 50), torch.zeros(1, 4, dtype=torch.int64)))
    numbers, indices = make_example(inputs, 20)
    assert numbers.std() > 0.9
    assert not indices.any()
    assert torch.equal(numbers, make_example(inputs, 20)[0])


@pytest.mark.parametrize(
    "inputs", [3, "x", {}, {"shape": [2]}, {"shape": [2], "dtype": "float31"}, [{"shape": ["a"]}]]
)
def test_descriptions_that_are_none_are_refused(inputs):
    if inputs == {}:  # no inputs, so no samples
        with pytest.raises(ArgumentError, match="example: expected a batch"):
            n_samples(make_example(inputs, 2))
    else:
        with pytest.raises(DataError, match="manifest: no inputs can be made of"):
            make_example(inputs, 2)


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_batches_of_another_size_repeat_the_samples(example, n):
    assert n_samples(example) == 3
    assert n_samples(with_samples(example, n)) == n


def test_samples_are_repeated_in_order_and_copied():
    example = torch.tensor([5, 6, 7])
    assert with_samples(example, 5).tolist() == [5, 6, 7, 5, 6]
    with_samples(example, 3).zero_()
    assert example.tolist() == [5, 6, 7]
