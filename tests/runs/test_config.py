"""Seen to fail without what protects: experiments/reliability/protections.py."""

import json
import math
import tempfile
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecomp_deap.defaults import GENERATIONS, PARETO_SELECTIONS, SIMILARITIES
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.runs import RunConfig, load_toml
from ecomp_deap.runs.options import OBJECTIVES, OPTIONS

WORDS = st.text(st.characters(categories=("L", "N", "P", "S"), codec="utf-8"), min_size=1)
RATES = st.floats(0, 1)
NAMES = st.lists(WORDS, min_size=1, unique=True).map(tuple)
WEIGHT = st.floats(0, 1e9)
LOSSES = st.dictionaries(
    st.sampled_from(["task", "distillation", "similarity"]), WEIGHT.filter(bool), min_size=1
)

# Every option on its own; `layers` below draws those that go together.
VALUES = {
    "n_runs": st.integers(1),
    "name": st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,30}", fullmatch=True),
    "population": st.integers(4),
    "seed": st.integers(0, 2**32 - 1),
    "probe_layers": NAMES,
    "kernel": st.sampled_from(["gaussian", "student"]),
    "engine": st.sampled_from(["auto", "batched", "loop", "masked"]),
    "evaluation": st.sampled_from(["fresh", "fixed"]),
    "batch_size": st.integers(5),
    "balanced": st.booleans(),
    "train_steps": st.integers(0),
    **{
        prefix + name: values
        for prefix in ("", "finalise_")
        for name, values in {
            "learning_rate": st.floats(0, exclude_min=True, allow_infinity=False),
            "optimizer": st.sampled_from(["adam", "adamw", "sgd"]),
            "weight_decay": st.floats(0, allow_infinity=False),
            "schedule": st.sampled_from(["constant", "onecycle", "cosine", "linear"]),
            "temperature": st.floats(0, exclude_min=True, allow_infinity=False),
            "mixup": st.floats(0, allow_infinity=False),
            "averaging": RATES,
        }.items()
    },
    "train_loss": LOSSES,
    "finalise_loss": LOSSES,
    "train_batch_size": st.integers(1),
    "finalise_batch_size": st.integers(1),
    "finalise_count": st.integers(0),
    "finalise_epochs": st.integers(0),
    "max_params": st.integers(1),
    "max_macs": st.integers(1),
    "max_size_bytes": st.integers(1),
    "time_budget": st.floats(0, exclude_min=True, allow_infinity=False),
    "stall_generations": st.integers(1),
    "max_latency_ms": st.floats(0, exclude_min=True, allow_infinity=False),
    "threads": st.integers(1),
    "data_dir": WORDS.map(Path),
    "download": st.booleans(),
    "parent": WORDS.map(Path),
    "parent_epochs": st.integers(1),
    "out": WORDS.map(Path),
    "tensorboard": WORDS.map(Path),
    "mlflow": st.sampled_from(["sqlite:///runs/mlflow.db", "http://user@127.0.0.1:5000"]),
    "quiet": st.booleans(),
}


@st.composite
def layers(draw):
    """Options that do not contradict, as a layer."""
    layer = draw(st.fixed_dictionaries({}, optional=VALUES))
    layer |= draw(
        st.sampled_from(
            [{}, {"preset": "report"}, {"generations": 7}, {"epochs": 2}, {"perplexity": 1.25}]
        )
    )
    if layer.get("perplexity"):
        layer["batch_size"] = 5
    elif layer.get("kernel") != "student":
        layer["similarity"] = draw(st.sampled_from(SIMILARITIES))
    layer |= draw(
        st.sampled_from(
            [{}, {"workers": 2}, {"dask": "tcp://a:1", "block_timeout": 9.0}, {"ray": "auto"}]
        )
    )
    layer |= draw(
        st.one_of(
            st.fixed_dictionaries({"genome": st.just("mask"), "inherit": st.booleans()}),
            st.fixed_dictionaries(
                {
                    "genome": st.just("width"),
                    "finalise_count": st.integers(6, 9),
                    "finalise_trials": st.sampled_from([0, 10, 11]),
                    "finalise_sizes": st.lists(
                        st.integers(1), min_size=1, max_size=3, unique=True
                    ).map(tuple),
                }
            ),
            st.fixed_dictionaries({"genome": st.just("weights"), "recombination_layers": NAMES}),
        )
    )
    objectives = st.lists(st.sampled_from(OBJECTIVES), min_size=2, unique=True).map(tuple)
    pareto = {"selection": st.sampled_from(PARETO_SELECTIONS), "objectives": objectives}
    weighted = {
        "selection": st.sampled_from(["roulette", "tournament"]),
        "loss_weights": st.tuples(WEIGHT, WEIGHT, WEIGHT).filter(any),
        "crossover_rate": RATES,
        "mutation_rate": RATES,
    }
    return layer | draw(st.one_of(st.fixed_dictionaries(pareto), st.fixed_dictionaries(weighted)))


def to_toml(layer, separator="_"):
    return "".join(
        f"{name.replace('_', separator)} = {toml_value(value)}\n" for name, value in layer.items()
    )


def toml_value(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {weight!r}' for name, weight in value.items())}}}"
    if isinstance(value, (str, Path)):
        return json.dumps(str(value), ensure_ascii=False)
    return repr(value)


# One bad value of the wrong type and those just out of range, for every option.
BAD = [
    *[("n_runs", value) for value in ("1", 0, True, 1.0)],
    *[("name", value) for value in (1, "", ".hidden", "a/b", "a b")],
    *[("preset", value) for value in (1, "reports", "")],
    *[("genome", value) for value in (1, "masks", None)],
    *[("population", value) for value in ("100", 3, True, None, 100.0)],
    *[("generations", value) for value in ("1", -1, False)],
    *[("epochs", value) for value in ("1", 0, True)],
    *[("time_budget", value) for value in ("9", 0, -1, math.inf, math.nan)],
    *[("stall_generations", value) for value in ("1", 0, 1.5, True)],
    *[("target_accuracy", value) for value in ("1", -0.1, 1.1, math.nan)],
    *[("target_params", value) for value in ("1", 0, 1.5)],
    *[("crossover_rate", value) for value in ("1", -0.1, 1.1, math.nan, math.inf, True)],
    *[("mutation_rate", value) for value in ("1", -0.1, 1.1, math.nan, -math.inf, True)],
    *[("recombination_layers", value) for value in ("output", (), ("a", "a"), (1,))],
    *[("mutation", value) for value in (1, "flip", "")],
    *[("learnt", value) for value in (1, "best")],
    *[("importance", value) for value in (1, "l3")],
    *[("highest_rate", value) for value in ("0.9", 0.1, 1.0, None)],
    *[("protect", value) for value in ("output", (), ("a", "a"))],
    *[("min_units", value) for value in ("1", 0, True)],
    *[("round_to", value) for value in ("8", 0, 8.0)],
    *[("prune_inputs", value) for value in (1, "no")],
    *[("steady_state", value) for value in (1, "no", None)],
    *[("seed", value) for value in ("0", -1, 2**32, 0.5, None)],
    *[("selection", value) for value in (1, "nsga", ["nsga2"])],
    *[("objectives", value) for value in ("accuracy", ("accuracy",), ("accuracy", "size"))],
    ("objectives", ("accuracy", "accuracy")),
    *[("loss_weights", value) for value in ("1,2,1", (1, 2), (0, 0, 0), (1, -1, 1))],
    *[("loss_weights", value) for value in ((1, math.nan, 1), (1, math.inf, 1), (1, True, 1))],
    *[("probe_layers", value) for value in ("output", ("a", "a"), ("",))],
    *[("perplexity", value) for value in ("30", 1, 0.5, math.nan, math.inf)],
    *[("kernel", value) for value in (1, "cosine")],
    *[("similarity", value) for value in (1, "cosine", None)],
    *[("engine", value) for value in (1, "cuda")],
    *[("evaluation", value) for value in (1, "stale")],
    *[("batch_size", value) for value in ("100", 4, 100.0)],
    *[("balanced", value) for value in (1, "yes", None)],
    *[("train_steps", value) for value in ("0", -1, True)],
    *[("train_loss", value) for value in ("task=1", {}, {"task": 0}, {"task": -1.0})],
    *[("train_loss", value) for value in ({"kl": 1.0}, {"task": math.nan}, {"task": "1"})],
    *[("learning_rate", value) for value in ("0.1", 0, -1.0, math.nan, math.inf)],
    *[("optimizer", value) for value in (1, "lbfgs")],
    *[("weight_decay", value) for value in ("0", -1.0, math.inf)],
    *[("schedule", value) for value in (1, "step", None)],
    *[("train_batch_size", value) for value in ("9", 0, 9.5)],
    *[("temperature", value) for value in ("1", 0.0, math.inf)],
    *[("mixup", value) for value in ("1", -0.1, math.inf)],
    *[("averaging", value) for value in ("1", -0.1, 1.1)],
    *[("finalise_loss", value) for value in (None, {}, {"task": 0})],
    *[("finalise_learning_rate", value) for value in ("0.1", 0, None)],
    *[("finalise_optimizer", value) for value in (1, "lbfgs")],
    *[("finalise_weight_decay", value) for value in ("0", -1.0)],
    *[("finalise_schedule", value) for value in (1, "step")],
    *[("finalise_batch_size", value) for value in ("9", 0, None)],
    *[("finalise_temperature", value) for value in ("1", 0.0)],
    *[("finalise_mixup", value) for value in ("1", -0.1)],
    *[("finalise_averaging", value) for value in ("1", 1.1)],
    *[("finalise_size_power", value) for value in ("1", -0.5, math.inf)],
    *[("recalibration_samples", value) for value in ("100", -1)],
    *[("inherit", value) for value in (0, "no")],
    *[("finalise_count", value) for value in ("8", -1)],
    *[("finalise_epochs", value) for value in ("3", -1)],
    *[("finalise_trials", value) for value in ("3", -1)],
    *[("finalise_sizes", value) for value in ((), (0,), (5, 5), 5, ("5",), (1.5,))],
    *[("max_params", value) for value in ("9", 0, 1.5)],
    *[("max_macs", value) for value in ("9", 0, 1.5)],
    *[("max_size_bytes", value) for value in ("9", 0, 1.5)],
    *[("max_latency_ms", value) for value in ("9", 0, -1, math.inf)],
    *[("threads", value) for value in ("1", 0, True)],
    *[("workers", value) for value in ("1", 0, True, 10**5)],
    *[(name, value) for name in ("dask", "ray") for value in (1, "", "a b", "x" * 201, "a\0")],
    *[("gpus_per_worker", value) for value in ("1", -1, math.inf)],
    *[("block_timeout", value) for value in ("1", 0, math.inf)],
    *[("data_dir", value) for value in (1, "")],
    *[("download", value) for value in (1, "no")],
    *[("parent", value) for value in (1, "")],
    *[("factory", value) for value in (1, "LeNet5", ":LeNet5", "models.py:")],
    *[("images", value) for value in (1, "no")],
    *[("parent_epochs", value) for value in ("10", 0)],
    *[("out", value) for value in (1, "", None)],
    *[("tensorboard", value) for value in (1, "", True)],
    *[("mlflow", value) for value in (1, "", "a b", "x" * 401, "postgresql://user:word@host/db")],
    *[("quiet", value) for value in (1, "no")],
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_value_is_refused_by_name(name, value):
    with pytest.raises(ArgumentError, match=f"^{name}: expected ") as caught:
        RunConfig(**{name: value})
    assert str(caught.value).endswith(f", got {value!r}")


def test_every_option_has_bad_values_above():
    assert {name for name, _ in BAD} == set(OPTIONS)


def test_fields_are_converted_and_frozen():
    config = RunConfig(
        selection="roulette", loss_weights=[1, 2, 0], out="here", probe_layers=["a"], perplexity=30
    )
    assert config.loss_weights == (1.0, 2.0, 0.0)
    assert config.out == Path("here")
    assert config.probe_layers == ("a",)
    assert type(config.perplexity) is float
    with pytest.raises(FrozenInstanceError, match="out"):
        config.out = Path()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1, "generations": 2}, "either --epochs or --generations"),
        ({"dask": "local", "ray": "local"}, "dask and ray: expected one of them"),
        ({"workers": 2, "dask": "tcp://a:1"}, "workers: expected none with a Dask cluster"),
        ({"gpus_per_worker": 1}, "gpus_per_worker: expected 0 without a cluster"),
        ({"workers": 2, "gpus_per_worker": 1}, "gpus_per_worker: expected 0 without a cluster"),
        ({"block_timeout": 5}, "block_timeout: expected none without workers"),
        (
            {"steady_state": True, "selection": "roulette"},
            "steady_state: expected False with a weighted selection, got 'roulette'",
        ),
        ({"target_params": 5}, "target_accuracy and target_params: expected both or neither"),
        ({"target_accuracy": 0.5}, "target_accuracy and target_params: expected both or neither"),
        *[
            (
                {"selection": selection, "loss_weights": (1, 2, 1)},
                "loss_weights: .*--selection roulette or tournament",
            )
            for selection in ("nsga2", "nsga3", "spea2")
        ],
        *[
            (
                {"selection": selection, "objectives": ("accuracy", "mac_count")},
                "objectives: .*--selection nsga2, nsga3 or spea2",
            )
            for selection in ("roulette", "tournament")
        ],
        (
            {"crossover_rate": 0.8, "mutation_rate": 0.3},
            "crossover_rate: expected at most 1 together with mutation_rate .*0.8, 0.3",
        ),
        ({"recombination_layers": ("output",)}, "recombination_layers: .*--genome weights"),
        ({"genome": "weights", "inherit": True}, "inherit: .*--genome mask"),
        ({"mutation": "steps"}, "mutation: expected .*--genome mask, got 'steps'"),
        ({"genome": "width", "mutation": "flips"}, "mutation: expected .*--genome width, got"),
        ({"learnt": "mean"}, "learnt: expected only with --inherit"),
        ({"batch_size": 90, "perplexity": 30}, "perplexity: expected at most 29.6667"),
        (
            {"similarity": "cka", "perplexity": 30.0},
            "perplexity: expected only with --similarity tsne, got similarity 'cka'",
        ),
        (
            {"similarity": "pkt", "kernel": "student"},
            "kernel: expected only with --similarity tsne, got similarity 'pkt'",
        ),
        (
            {"genome": "weights", "finalise_sizes": (500,)},
            "finalise_sizes: expected only with --genome mask or width",
        ),
        (
            {"finalise_trials": 8, "finalise_count": 8},
            "finalise_trials: expected 0, or more than finalise_count=8, got 8",
        ),
        (
            {"finalise_sizes": (500, 900), "finalise_count": 3},
            "finalise_count: expected at least 4, two for each of finalise_sizes, got 3",
        ),
    ],
)
def test_contradiction_is_refused_and_says_what_goes_together(options, message):
    with pytest.raises(ArgumentError, match=message):
        RunConfig(**options)
    with pytest.raises(ArgumentError, match=message):
        RunConfig.from_layers(options)


@pytest.mark.parametrize(
    "options",
    [
        {"selection": "roulette", "crossover_rate": 1.0, "mutation_rate": 1.0},
        {"crossover_rate": 0.7, "mutation_rate": 0.3},
        {"genome": "weights", "recombination_layers": ("output",)},
        {"inherit": True},
        {"inherit": True, "learnt": "aligned", "mutation": "biased"},
        {"genome": "width", "mutation": "steps"},
        {"batch_size": 91, "perplexity": 30},
        {"similarity": "procrustes", "batch_size": 5},
        {"similarity": "tsne", "kernel": "student", "perplexity": 30},
        {"finalise_epochs": 3, "finalise_count": 0},
    ],
)
def test_what_goes_together_is_accepted(options):
    config = RunConfig(**options)
    assert options.items() <= config.as_dict().items()


def test_resolved_decides_what_follows_from_the_rest():
    config = RunConfig().resolved()
    assert config.generations == GENERATIONS
    assert config.objectives == ("accuracy", "similarity_loss", "param_count")
    assert config.loss_weights is None
    assert (config.crossover_rate, config.mutation_rate) == (0.7, 0.3)
    assert config.is_pareto

    config = RunConfig(selection="tournament", genome="weights", epochs=2).resolved()
    assert (config.generations, config.epochs) == (None, 2)
    assert config.objectives is None
    assert config.loss_weights == (1.0, 2.0, 1.0)
    assert (config.crossover_rate, config.mutation_rate) == (1.0, 0.01)
    assert not config.is_pareto


@pytest.mark.parametrize(
    ("genome", "selection", "rates"),
    [
        ("mask", "nsga2", (0.7, 0.3)),
        ("mask", "roulette", (0.7, 0.3)),
        ("weights", "spea2", (0.7, 0.3)),
        ("weights", "roulette", (1.0, 0.01)),
    ],
)
def test_rates_follow_genome_and_selection_and_yield_to_given_ones(genome, selection, rates):
    config = RunConfig(genome=genome, selection=selection)
    resolved = config.resolved()
    assert (resolved.crossover_rate, resolved.mutation_rate) == rates
    given = replace(config, crossover_rate=0.25, mutation_rate=0.0).resolved()
    assert (given.crossover_rate, given.mutation_rate) == (0.25, 0.0)


@settings(deadline=None)
@given(RATES, st.sampled_from(["crossover_rate", "mutation_rate"]))
def test_with_one_rate_given_pareto_children_are_all_varied(rate, name):
    config = RunConfig(**{name: rate}).resolved()
    assert getattr(config, name) == rate
    assert config.crossover_rate + config.mutation_rate == 1


@settings(deadline=None)
@given(layers())
def test_resolved_is_final(layer):
    config = RunConfig.from_layers(layer).resolved()
    assert config.resolved() == config
    assert None not in (config.crossover_rate, config.mutation_rate)
    assert (config.generations is None) != (config.epochs is None)
    assert (config.objectives is None) != (config.loss_weights is None)


def test_later_layers_win():
    config = RunConfig.from_layers(
        {"population": 10, "seed": 1, "genome": "weights"}, {"seed": 2}, {"seed": None}
    )
    assert (config.population, config.seed, config.genome) == (10, 2, "weights")


def test_report_preset_is_the_original_protocol():
    config = RunConfig.from_layers({"preset": "report"})
    assert config == RunConfig(
        preset="report",
        population=100,
        batch_size=100,
        epochs=1,
        genome="weights",
        selection="roulette",
        loss_weights=(1, 2, 1),
        crossover_rate=1.0,
        mutation_rate=0.01,
        train_steps=0,
        evaluation="fresh",
        finalise_epochs=0,
        finalise_count=0,
        perplexity=30,
    )


@pytest.mark.parametrize("place", ["with the preset", "above it", "below it"])
def test_explicit_options_override_the_preset_wherever_they_stand(place):
    options = {"population": 20, "generations": 5, "loss_weights": (1, 0, 1)}
    preset = {"preset": "report"}
    config = RunConfig.from_layers(
        *{
            "with the preset": [preset | options],
            "above it": [preset, options],
            "below it": [options, preset],
        }[place]
    )
    assert (config.population, config.generations, config.epochs) == (20, 5, None)
    assert config.loss_weights == (1.0, 0.0, 1.0)
    assert config.batch_size == 100
    assert config.genome == "weights"


def test_preset_gives_way_where_an_explicit_choice_makes_it_meaningless():
    config = RunConfig.from_layers({"preset": "report", "selection": "nsga2"}).resolved()
    assert config.loss_weights is None
    assert (config.crossover_rate, config.mutation_rate) == (0.7, 0.3)
    assert RunConfig.from_layers({"preset": "report", "batch_size": 50}).perplexity is None
    assert RunConfig.from_layers({"preset": "report", "similarity": "cka"}).perplexity is None


def test_later_layer_displaces_what_it_makes_meaningless():
    file = {"epochs": 2, "selection": "roulette", "loss_weights": (1, 0, 1)}
    config = RunConfig.from_layers(file, {"generations": 3, "selection": "nsga2"})
    assert (config.epochs, config.generations, config.loss_weights) == (None, 3, None)
    config = RunConfig.from_layers(
        {"generations": 3, "objectives": ("accuracy", "mac_count")},
        {"epochs": 1, "selection": "tournament"},
    )
    assert (config.epochs, config.generations, config.objectives) == (1, None, None)
    config = RunConfig.from_layers({"perplexity": 9, "kernel": "student"}, {"similarity": "cka"})
    assert (config.perplexity, config.kernel) == (None, "gaussian")


def test_preset_excuses_no_contradiction_of_the_users_own():
    with pytest.raises(ArgumentError, match="got both"):
        RunConfig.from_layers({"preset": "report"}, {"epochs": 1, "generations": 2})
    with pytest.raises(ArgumentError, match="objectives: expected only with"):
        RunConfig.from_layers({"preset": "report", "objectives": ("accuracy", "mac_count")})


def test_layer_with_an_unknown_option_suggests_the_near_one():
    with pytest.raises(ArgumentError, match="'objektives'; did you mean 'objectives'"):
        RunConfig.from_layers({"objektives": ("accuracy", "mac_count")})


@settings(deadline=None)
@given(layers())
def test_json_round_trip(layer):
    config = RunConfig.from_layers(layer)
    written = json.dumps(config.to_json_dict(), allow_nan=False)
    assert RunConfig.from_json_dict(json.loads(written)) == config
    resolved = config.resolved()
    assert RunConfig.from_json_dict(resolved.to_json_dict()) == resolved


def test_json_of_a_preset_keeps_what_was_decided_against_it():
    config = RunConfig.from_layers({"preset": "report", "selection": "nsga2", "batch_size": 50})
    assert RunConfig.from_json_dict(config.to_json_dict()) == config


def test_json_with_an_unknown_option_is_refused():
    with pytest.raises(ArgumentError, match="'sed'; did you mean 'seed'"):
        RunConfig.from_json_dict({"sed": 1})


@settings(deadline=None)
@given(layers(), st.sampled_from("-_"))
def test_toml_round_trip(layer, separator):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.toml")
        path.write_text(to_toml(layer, separator), encoding="utf-8")
        read = load_toml(path)
    assert read == layer
    assert RunConfig.from_layers(read) == RunConfig.from_layers(layer)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("popluation = 5", "run.toml: unknown option 'popluation'; did you mean 'population'"),
        ("batch-sise = 5", "run.toml: unknown option 'batch_sise'; did you mean 'batch_size'"),
        ("[search]\nseed = 1", "run.toml: unknown option 'search'"),
        ("seed = 1.5", "run.toml: seed: expected an integer .*, got 1.5"),
        ("loss_weights = '1,2,1'", "run.toml: loss_weights: expected three finite numbers"),
        ("learning_rate = nan", "run.toml: learning_rate: expected .*, got nan"),
        ("learning_rate = true", "run.toml: learning_rate: expected .*, got True"),
        ("[seed]\na = 1", "run.toml: seed: expected an integer"),
        ("batch-size = 5\nbatch_size = 5", "run.toml: batch_size is given twice"),
    ],
)
def test_toml_with_a_wrong_option_is_refused_with_its_name(tmp_path, content, message):
    path = tmp_path / "run.toml"
    path.write_text(content)
    with pytest.raises(ArgumentError, match=message):
        load_toml(path)


def test_toml_takes_an_integer_for_a_float(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("learning_rate = 1\n")
    assert load_toml(path) == {"learning_rate": 1.0}


@pytest.mark.parametrize("content", [b"seed = ", b"seed: 1", b"name = '\xff'"])
def test_damaged_toml_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"run\.toml: expected a TOML file: "):
        load_toml(path)


def test_missing_file_or_folder_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"none\.toml: cannot read the configuration: "):
        load_toml(tmp_path / "none.toml")
    with pytest.raises(DataError, match="cannot read the configuration: "):
        load_toml(tmp_path)
