"""The published schema and the options: what one takes, the other takes.

Seen to fail without what protects: experiments/reliability/protections.py.
"""

import json
from pathlib import Path

import jsonschema
import pytest

from ecomp_deap import ArgumentError
from ecomp_deap.cli import main
from ecomp_deap.runs import RunConfig, config, schema
from ecomp_deap.runs.options import OPTIONS

SCHEMA = schema.config_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
POOL = [
    *(None, True, False, 0, 1, 2, 4, 5, 7, -1, 10**6, 0.0, 0.25, 0.5, 1.5, -0.5, 1e30),
    *("", "x", "run-1", ".run", "a" * 201, "a:b", ":b", "a:", "a.py:f", "a\0b", "/tmp/x y", "é"),
    *([], [1], [1, 1], [1, 2], [0, 0, 0], [1, 2, 1], [1, -1, 1], [1, 2], ["a"], ["a", "a"], [""]),
    *({}, {"task": 1.0}, {"task": 0}, {"task": -1}, {"other": 1}, {"task": 0.5, "similarity": 0}),
    *("mask", "width", "weights", "nsga2", "roulette", "fresh", "l1", "adam", "cosine", "tsne"),
    *("gaussian", "resize", "report", "loop", "cka", "constant", "random"),
    *(["accuracy"], ["accuracy", "param_count"], ["accuracy", "x"], {"a": [1]}, [[1]], [None]),
]


def same(value):
    """Return what JSON cannot tell apart: 1.0 is an integer there, and is none in TOML."""
    return not (isinstance(value, float) and value.is_integer())


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_published_file_is_it():
    path = Path(config.__file__).with_name("config.schema.json")
    assert json.loads(path.read_text(encoding="utf-8")) == SCHEMA, "ecomp-deap schema > the file"


def test_the_command_prints_it(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    assert main(["schema", "x"]) == 2


@pytest.mark.parametrize("name", OPTIONS)
def test_it_takes_what_the_option_takes(name):
    validator = jsonschema.Draft202012Validator(SCHEMA["properties"][name])
    for value in filter(same, POOL):
        try:
            OPTIONS[name].check(value)
            taken = True
        except ArgumentError:
            taken = False
        assert validator.is_valid(value) == taken, value


def test_every_option_is_in_it_with_its_default():
    assert list(SCHEMA["properties"]) == list(OPTIONS)
    defaults = {name: own["default"] for name, own in SCHEMA["properties"].items()}
    assert RunConfig.from_json_dict(defaults) == RunConfig()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"selection": "roulette", "loss_weights": [1, 2, 1]},
        {"preset": "report"},
        {"train_steps": 2, "inherit": True, "learnt": "either"},
        {"objectives": ["accuracy", "param_count"], "epochs": 3},
    ],
)
def test_configurations_are_valid(options):
    written = RunConfig.from_layers(options).to_json_dict()
    VALIDATOR.validate(written)
    VALIDATOR.validate(json.loads(json.dumps(written)))
    VALIDATOR.validate(RunConfig.from_layers(options).resolved().to_json_dict())


@pytest.mark.parametrize(
    "options",
    [
        {"popluation": 60},
        {"generations": 3, "epochs": 2},
        {"loss_weights": [1, 2, 1]},
        {"selection": "roulette", "objectives": ["accuracy", "param_count"]},
        {"learnt": "either"},
    ],
)
def test_contradictions_and_unknown_names_are_refused_by_both(options):
    assert not VALIDATOR.is_valid({**RunConfig().to_json_dict(), **options})
    with pytest.raises(ArgumentError):
        RunConfig.from_json_dict(options)
