"""State: all that a search is between two generations, to and from files.

Everything that decides how a search goes on is in it: individuals with their genomes, fitness and
measurements, the archive, the logbook, counters and the state of the random streams. What is given
anew by whoever goes on (parent, data, configuration) is not; `description.py` compares that.
"""

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ecomp_deap.errors import ArgumentError, DataError, argument_error, one_line
from ecomp_deap.files import parse_json
from ecomp_deap.genomes import Genome, MaskGenome, WeightGenome, WidthGenome
from ecomp_deap.logbook import logbook_to_rows, statistics_of
from ecomp_deap.measurement import Measurement
from ecomp_deap.runs.recording import numbers
from ecomp_deap.runs.shapes import (
    check_shape,
    is_count,
    is_number,
    is_object,
    is_plain,
    measurement_of,
    optional,
)
from ecomp_deap.toolbox import Toolbox
from ecomp_deap.toolbox.accounts import Counters

__all__ = ["State", "pack", "streams", "unpack"]

_STATE, _ARRAYS = "state.json", "arrays.safetensors"
# What every individual has, and is saved by a rule of its own.
_KNOWN = {"_masks", "_arrays", "_widths", "_layers", "_key", "fitness", "measurement", "batch"}
_PLAIN = (type(None), bool, int, float, str)


@dataclass
class State:
    """A search between two generations.

    Attributes:
        generation: The one that was evaluated last.
        population: Its survivors.
        first: The first population.
        archive: The items of the archive.
        records: The logbook's, one a generation, chapters as dictionaries.
        seconds: Of each generation.
        latency_ms: Of each generation, where latency is measured.
        hypervolumes: Of each generation, where a rule may stop the search.
        front_hypervolumes: Of each generation's population in error and size, where there are
            classes; none in a save of an older version.
        worst: What they refer to, a number an objective; None where that is not known yet.
        random: States of `random` and `numpy.random`, as they give them.
        toolbox: Counters and numbers of the generation boundary.
    """

    generation: int
    population: list[Any]
    first: list[Any]
    archive: list[Any]
    records: list[dict[str, Any]]
    seconds: list[float]
    latency_ms: list[dict[str, float | None]]
    hypervolumes: list[float]
    front_hypervolumes: list[float]
    worst: list[float] | None
    random: tuple[Any, Any]
    toolbox: dict[str, Any]

    def restore_streams(self) -> None:
        """Put `random` and `numpy.random` where they were; changes global state."""
        random.setstate(self.random[0])
        np.random.set_state(self.random[1])  # noqa: NPY002


def streams() -> tuple[Any, Any]:
    """Return the states of `random` and `numpy.random`."""
    return random.getstate(), np.random.get_state()  # noqa: NPY002


def pack(state: State) -> dict[str, bytes]:
    """Return a state as the files of a save: JSON, and the arrays of all genomes.

    Raises:
        ArgumentError: An individual has an attribute of a user's that JSON cannot hold.
    """
    table = _Table()
    version, words, gauss = state.random[0]
    name, keys, *rest = state.random[1]
    content = {
        "generation": state.generation,
        "population": table.add_all(state.population),
        "first": table.add_all(state.first),
        "archive": table.add_all(state.archive),
        "individuals": table.rows,
        "measurements": table.measurements,
        "records": state.records,
        "seconds": state.seconds,
        "latency_ms": state.latency_ms,
        "hypervolumes": state.hypervolumes,
        "front_hypervolumes": state.front_hypervolumes,
        "worst": state.worst,
        "random": [version, list(words), gauss],
        "numpy_random": [name, keys.tolist(), *rest],
        "toolbox": state.toolbox,
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    arrays = {str(i): array for i, array in enumerate(table.arrays)}
    return {_STATE: text.encode(), _ARRAYS: save_arrays(arrays)}


def unpack(files: Mapping[str, bytes], toolbox: Toolbox) -> State:
    """Return the state that `pack` wrote.

    Args:
        files: Of a save, whose sums were checked; what they hold is not believed for that.
        toolbox: Of the search, which has the type of the individuals.

    Raises:
        DataError: They hold something else.
    """
    try:
        content = parse_json(files[_STATE])
        if isinstance(content, dict):  # as an older version has it
            content.setdefault("front_hypervolumes", [])
        check_shape(content, _SHAPE)
        arrays = load_arrays(files[_ARRAYS])
        evaluator = toolbox.evaluator
        metric, timed = evaluator.task.metric.name, evaluator.limits.times
        found = [measurement_of(r, metric=metric, timed=timed) for r in content["measurements"]]
        individuals = [_individual(row, arrays, found, toolbox) for row in content["individuals"]]
        version, words, gauss = content["random"]
        name, keys, *rest = content["numpy_random"]
        state = State(
            generation=content["generation"],
            population=_chosen(individuals, content["population"]),
            first=_chosen(individuals, content["first"]),
            archive=_chosen(individuals, content["archive"]),
            records=[_with_tuples(record) for record in content["records"]],
            seconds=content["seconds"],
            latency_ms=content["latency_ms"],
            hypervolumes=content["hypervolumes"],
            front_hypervolumes=content["front_hypervolumes"],
            worst=content["worst"],
            random=(
                (version, tuple(words), gauss),
                (name, np.array(keys, dtype=np.uint32), *rest),
            ),
            toolbox=content["toolbox"],
        )
        _check(state, toolbox)
    except (
        *(KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError),
        *(SafetensorError, ArgumentError),
    ) as error:
        reason = one_line(error) or type(error).__name__
        raise DataError(f"a save holds no state of a search: {reason[:200]}") from error
    return state


# What state.json looks like; `_individual` looks at individuals, `_check` at what belongs together.
_SHAPE = {
    "generation": is_count,
    "population": [is_count],
    "first": [is_count],
    "archive": [is_count],
    "individuals": [is_object],
    "measurements": [is_object],
    "records": [is_object],
    "seconds": [is_number],
    "latency_ms": [dict.fromkeys(("min", "mean", "max"), optional(is_number))],
    "hypervolumes": [is_number],
    "front_hypervolumes": [is_number],
    "worst": optional([is_number]),
    "random": lambda value: isinstance(value, list) and len(value) == 3,
    "numpy_random": lambda value: isinstance(value, list) and len(value) == 5,
    "toolbox": {
        "generation": is_count,
        "n_measured": is_count,
        "n_first": is_count,
        "permutations": is_count,
        "counters": {field.name: is_count for field in fields(Counters)},
    },
}


def _check(state: State, toolbox: Toolbox) -> None:
    """Check that the parts of a state belong together, and to the search."""
    n = state.generation + 1
    optional_ones = (state.latency_ms, state.hypervolumes, state.front_hypervolumes)
    lengths = {len(state.records), len(state.seconds), *(len(o) or n for o in optional_ones)}
    if lengths != {n}:
        raise ValueError(f"it has not {n} records")
    if state.toolbox["generation"] != state.generation:
        raise ValueError("its generations differ")
    if not state.population or not state.first:
        raise ValueError("it has no individuals")
    if state.worst is not None and len(state.worst) != len(toolbox.fitness.signs):
        raise ValueError("its objectives are others")
    names = {"gen", "nevals", *statistics_of(toolbox.evaluator.task).fields}
    for record in state.records:
        if set(record) != names:
            raise ValueError("its logbook has other columns")
        logbook_to_rows([record])
    # Streams that would be taken, by objects that no one else draws from.
    random.Random().setstate(state.random[0])
    np.random.RandomState().set_state(state.random[1])
    if not 0 <= state.random[1][2] <= 624 or not is_number(state.random[1][4]):
        raise ValueError("its random state is none")


def _chosen(individuals: Sequence[Any], places: Sequence[int]) -> list[Any]:
    return [individuals[i] for i in places]


class _Table:
    """Individuals, measurements and arrays, each object once, however often it is named.

    Equal individuals share the object of their measurement, which is what statistics tell
    duplicates by.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.measurements: list[dict[str, Any]] = []
        self.arrays: list[np.ndarray] = []
        self._places: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no id is given twice

    def add_all(self, individuals: Iterable[Any]) -> list[int]:
        return [self._add(individual, self.rows, self._row) for individual in individuals]

    def _add(self, value: Any, rows: list[Any], row_of: Callable[[Any], Any]) -> int:
        """Return the place of an object among its rows."""
        if id(value) not in self._places:
            row = row_of(value)
            self._places[id(value)] = len(rows)
            self._alive.append(value)
            rows.append(row)
        return self._places[id(value)]

    def _row(self, individual: Any) -> dict[str, Any]:
        row: dict[str, Any] = {"genome": self._genome(individual), "batch": individual.batch}
        fitness = individual.fitness
        row["fitness"] = list(fitness.values) if fitness.valid else None
        crowding = getattr(fitness, "crowding_dist", None)
        if crowding is not None:
            row["crowding"] = None if math.isinf(crowding) else float(crowding)
        if individual.measurement is not None:
            row["measurement"] = self._add(individual.measurement, self.measurements, numbers)
        extra = {k: v for k, v in vars(individual).items() if k not in _KNOWN}
        for name, value in extra.items():
            if not isinstance(value, _PLAIN) or value != value:
                expected = "a number, a text or None where a search is saved"
                raise argument_error(f"attribute {name!r} of an individual", expected, value)
        if extra:
            row["attributes"] = extra
        return row

    def _genome(self, genome: Genome) -> dict[str, Any]:
        if isinstance(genome, MaskGenome):
            masks = [[mask.size, np.packbits(mask).tobytes().hex()] for mask in genome.masks]
            if genome.arrays is None:
                return {"masks": masks}
            return {"masks": masks, "arrays": {n: self._name(a) for n, a in genome.arrays.items()}}
        if isinstance(genome, WidthGenome):
            return {"widths": list(genome.widths)}
        if isinstance(genome, WeightGenome):
            return {
                "layers": {
                    name: [self._name(weight), None if bias is None else self._name(bias)]
                    for name, (weight, bias) in genome.layers.items()
                }
            }
        raise argument_error("population", "individuals of known genomes", type(genome).__name__)

    def _name(self, array: np.ndarray) -> str:
        # Not ascontiguousarray, which gives arrays of no dimension one.
        return str(self._add(array, self.arrays, lambda found: np.asarray(found, order="C")))


def _individual(
    row: Mapping[str, Any],
    arrays: Mapping[str, Any],
    measurements: Sequence[Measurement],
    toolbox: Toolbox,
) -> Any:
    individual = toolbox.individual_class(*_genome(row["genome"], arrays, toolbox))
    check_shape(row["batch"], optional(is_count))
    individual.batch = row["batch"]
    check_shape(row["fitness"], optional([is_number]))
    if row["fitness"] is not None:
        if len(row["fitness"]) != len(toolbox.fitness.signs):
            raise ValueError("its objectives are others")
        individual.fitness.values = tuple(row["fitness"])
    if "crowding" in row:
        check_shape(row["crowding"], optional(is_number))
        infinite = row["crowding"] is None
        individual.fitness.crowding_dist = math.inf if infinite else row["crowding"]
    if "measurement" in row:
        check_shape(row["measurement"], is_count)
        individual.measurement = measurements[row["measurement"]]
    for name, value in row.get("attributes", {}).items():
        # Only what a user has put there: nothing that the class or the instance has a use for.
        if name.startswith("_") or name in vars(individual) or hasattr(type(individual), name):
            raise ValueError(f"it sets {name[:60]!r}")
        check_shape(value, is_plain)
        setattr(individual, name, value)
    return individual


def _genome(
    row: Mapping[str, Any], arrays: Mapping[str, np.ndarray], toolbox: Toolbox
) -> tuple[Any, ...]:
    """Return what a genome's class takes."""
    structure = toolbox.evaluator.structure
    if "masks" in row:
        if [size for size, _ in row["masks"]] != list(structure.widths):
            raise ValueError(f"its masks are not of sizes {structure.widths}")
        masks = [_mask(size, bytes.fromhex(text)) for size, text in row["masks"]]
        learnt = row.get("arrays")
        return masks, learnt and {name: arrays[key] for name, key in learnt.items()}
    if "widths" in row:
        check_shape(row["widths"], [is_count])
        if any(n > most for n, most in zip(row["widths"], structure.widths, strict=True)):
            raise ValueError(f"its widths are not of {structure.widths}")
        return (row["widths"],)
    return (
        {
            name: (arrays[weight], None if bias is None else arrays[bias])
            for name, (weight, bias) in row["layers"].items()
        },
    )


def _mask(size: int, packed: bytes) -> np.ndarray:
    # Before anything of that size is made.
    if len(packed) != (size + 7) // 8:
        raise ValueError(f"a mask of {size} units has {len(packed)} bytes")
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=size) > 0


def _with_tuples(value: Any) -> Any:
    """Return a record with tuples, of which JSON makes lists."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(item) for name, item in value.items()}
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
