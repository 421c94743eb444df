"""Does any file make a loader do anything but load it, or refuse it with an error of ours?

A sound file is made for every loader: weights, children with their manifests, images, logbooks,
fronts, configurations, saves and journals. Then, ``--inputs`` times in all, one is changed at
random and loaded: bytes are flipped, left out, doubled, put in from elsewhere, or, where it is
JSON, a value is put in another's place. What has a sum is also sealed again after the change, as
that would end the matter before it began.

Writes ``fuzz.csv`` into OUT: for each loader how many were loaded and how many refused, and the
longest time that one took. Any other error ends it with the change that made it; so do a time of
more than ``--seconds`` and a memory of more than ``--megabytes`` above the start's.

    python experiments/reliability/fuzz.py --inputs 100000
"""

import argparse
import contextlib
import hashlib
import json
import random
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap import (
    Callback,
    EcompError,
    Task,
    compress,
    export,
    export_logbook,
    load_child,
    load_parent,
    make_parent,
    make_toolbox,
    read_logbook,
    recorded,
)
from ecomp_deap.data.idx import read_idx
from ecomp_deap.runs import RunConfig, load_toml
from ecomp_deap.runs.directory import RunDirectory
from ecomp_deap.runs.journal import Journal
from ecomp_deap.runs.state import unpack
from ecomp_deap.runs.store import Store, seal

_TOKENS = (
    *(b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"{}", b"[]", b'"', b"\\"),
    *(b"[" * 3000, b"{", b"}", b",", b":", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\n"),
    *(b"9" * 30, b"9" * 5000, b"../", b"/etc/passwd", b"=1+1", b"'", b"\xed\xa0\x80", b"$\\frac{$"),
)
_VALUES = (
    *(None, True, False, 0, -1, 1, 10**30, 10**400, 1.5, 1e300, float("nan"), float("inf"), ""),
    *("x", "../../x", "/etc/passwd", "a\0b", "\ud800", "=1", "9" * 5000, [], [None], [[]], {}),
    *({"": None}, {"a": 1}, [0] * 50, "accuracy", "Linear", "float32", 2**40),
)


@dataclass
class Target:
    """What is fuzzed.

    Attributes:
        name: Of the loader and its file.
        path: The file that is changed.
        load: Loads it.
        reseal: Whether the file is a sealed line, which is sealed again after the change.
    """

    name: str
    path: Path
    load: Callable[[], Any]
    reseal: bool = False

    def __post_init__(self) -> None:
        self.sound = self.path.read_bytes()


class _Stop(Callback):
    def on_generation(self, generation: int, n_generations: int, record: Any) -> None:
        if generation == 2:
            raise KeyboardInterrupt


def targets_in(folder: Path) -> list[Target]:
    """Make a sound file for every loader."""
    torch.manual_seed(0)
    parent = make_parent((5, 4), n_inputs=6, n_outputs=3).eval()
    torch.save(parent.state_dict(), folder / "parent.pt")
    child = folder / "child.safetensors"
    export(parent, child, example=torch.zeros(2, 6))
    shutil.copy(child, folder / "parent.safetensors")
    header = b"\0\0\x08\x03" + np.array([2, 3, 3], dtype=">u4").tobytes()
    (folder / "images.idx").write_bytes(header + bytes(range(18)))
    found = [
        Target("load_parent .pt", folder / "parent.pt", lambda: load_parent(folder / "parent.pt")),
        Target(
            "load_parent .safetensors",
            folder / "parent.safetensors",
            lambda: load_parent(folder / "parent.safetensors"),
        ),
        Target("load_child", child, lambda: load_child(child)),
        Target("load_child manifest", folder / "child.json", lambda: load_child(child)),
        Target("read_idx", folder / "images.idx", lambda: read_idx(folder / "images.idx")),
    ]
    return [*found, _resealed_child(folder), *_of_runs(folder), *_of_saves(folder)]


def _resealed_child(folder: Path) -> Target:
    """Make a child whose manifest always has the right sum of its file."""
    own = folder / "own"
    own.mkdir()
    for name in ("child.safetensors", "child.json"):
        shutil.copy(folder / name, own / name)
    path, manifest = own / "child.safetensors", own / "child.json"
    sound = json.loads(manifest.read_text(encoding="utf-8"))

    def load() -> None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        manifest.write_text(json.dumps({**sound, "sha256": digest}), encoding="utf-8")
        load_child(path)

    return Target("load_child, sealed again", path, load)


def _of_runs(folder: Path) -> list[Target]:
    """Make the files of a run."""
    rows = [{"gen": i, "metric_mean": 0.5 / (i + 1), "note": "x"} for i in range(4)]
    found = []
    for ending in ("csv", "json", "jsonl"):
        path = folder / f"logbook.{ending}"
        export_logbook(rows, path)
        found.append(Target(f"read_logbook {ending}", path, lambda path=path: read_logbook(path)))
    toml = folder / "run.toml"
    toml.write_text('population = 40\nname = "x"\nobjectives = ["accuracy", "param_count"]\n')
    found.append(Target("load_toml", toml, lambda: RunConfig.from_layers(load_toml(toml))))
    run = RunDirectory.create(folder, "run")
    run.write_json("config.json", RunConfig().to_json_dict())
    front = {"id": "001", "validation_accuracy": 0.5, "test_accuracy": 0.4, "param_count": 12}
    front |= {"mac_count": 9, "size_bytes": 48, "similarity_loss": 0.1, "widths": "3-2"}
    run.write_rows("front.csv", list(front), [front])
    run.write_json("summary.json", {"best": front, "parent": front, "picks": {"best": "001"}})
    return [
        *found,
        Target("run's config.json", run.path / "config.json", run.config),
        Target("run's front.csv", run.path / "front.csv", run.front),
        Target("run's summary.json", run.path / "summary.json", run.summary),
    ]


def _of_saves(folder: Path) -> list[Target]:
    """Make a save and a journal of a search."""
    task = partial(_task, train_steps=1, inherit=True)
    options: dict[str, Any] = {"population": 4, "generations": 3, "finalise_count": 0, "seed": 1}
    with contextlib.suppress(KeyboardInterrupt):
        compress(task(), **options, checkpoint=folder / "saves", callback=_Stop())
    toolbox = make_toolbox(task(), seed=1)
    store = Store(folder / "saves")
    save, _ = store.newest()
    assert save is not None
    whole = dict(save.files)
    found = []

    def newest() -> None:
        _, damaged = store.newest()
        if damaged:  # and the one before was taken
            raise EcompError(damaged[0])

    for name in whole:
        path = store.folder / f"{save.number:06d}" / name
        found.append(Target(f"save's {name}", path, newest))
        inner = folder / name
        inner.write_bytes(whole[name])

        def load(name: str = name, inner: Path = inner) -> Any:
            return unpack({**whole, name: inner.read_bytes()}, toolbox)

        if name != "search.json":
            found.append(Target(f"save's {name}, sealed again", inner, load))
    manifest = store.folder / f"{save.number:06d}" / "manifest.json"
    found.append(Target("save's manifest", manifest, newest))
    found.append(Target("save's manifest, sealed again", manifest, newest, reseal=True))
    return [*found, *_of_journals(folder)]


def _task(**options: Any) -> Task:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    return Task(network, (torch.randn(60, 6), torch.arange(60) % 3), batch_size=15, **options)


def _of_journals(folder: Path) -> list[Target]:
    toolbox = make_toolbox(_task(), seed=1)
    population = toolbox.population(n=4)
    path = folder / "search.journal"

    def replay() -> None:
        toolbox.generation = -1
        with recorded(toolbox, path):
            list(toolbox.map(toolbox.evaluate, population))

    replay()
    sealed = folder / "last.journal"
    *head, last = path.read_bytes().splitlines(keepends=True)
    sealed.write_bytes(last)

    def replay_sealed() -> None:
        path.write_bytes(b"".join(head) + sealed.read_bytes())
        replay()

    def opened() -> None:
        journal = Journal(path)
        journal.close()
        if journal.dropped:  # what comes before the damage is taken
            raise EcompError(journal.dropped)

    return [
        Target("journal", path, opened),
        Target("journal's last line, sealed again", sealed, replay_sealed, reseal=True),
    ]


def changed(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few changes at random."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        upto = min(len(data), at + rng.choice((1, 1, 2, 8, 64)))
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at:upto]
        elif kind == 2:
            data[at:at] = data[at:upto]
        elif kind == 3:
            data[at:upto] = rng.choice(_TOKENS)
        elif kind == 4:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 16)))
        else:
            del data[at:]
    return bytes(data)


def changed_json(text: bytes, rng: random.Random) -> bytes:
    """Return JSON with a value at random in the place of another, left out, or doubled."""
    root = [json.loads(text)]
    place: Any = root
    key: Any = 0
    while isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.85:
        place = place[key]
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
    kind = rng.randrange(6)
    if kind == 0 and place is not root:
        del place[key]
    elif kind == 1 and isinstance(place, dict):
        place[rng.choice(("", "x", "class", "file", "__class__"))] = rng.choice(_VALUES)
    elif kind == 2 and isinstance(place, list):
        place.extend(place[:50])
    else:
        place[key] = rng.choice(_VALUES)
    return json.dumps(root[0] if root else None, default=str).encode("utf-8", "surrogatepass")


def fuzzed(target: Target, rng: random.Random) -> bytes:
    """Return the target's sound content with a change."""
    content = target.sound
    if target.reseal:
        text = content[65:-1]
        try:
            return seal(json.loads(changed_json(text, rng)))
        except ValueError:  # NaN, which no one can seal
            return content
    if target.path.suffix == ".json" and rng.random() < 0.6:
        with contextlib.suppress(ValueError):  # sealed, and so none
            return changed_json(content, rng)
    return changed(content, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="that one may take")
    parser.add_argument(
        "--megabytes", type=float, default=1000.0, help="of memory, above the start"
    )
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rng = random.Random(options.seed)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        targets = targets_in(Path(name))
        start = _peak_megabytes()
        for i, target in enumerate(targets):
            n = (options.inputs + i) // len(targets)
            rows.append(_fuzz(target, n, rng, options.seconds))
            print(rows[-1], flush=True)
            if _peak_megabytes() - start > options.megabytes:
                raise SystemExit(f"{target.name} took {_peak_megabytes() - start:.0f} MB")
    export_logbook(rows, options.out / "fuzz.csv")
    print(f"{sum(row['inputs'] for row in rows)} inputs: only errors of ours")


def _fuzz(target: Target, n: int, rng: random.Random, limit: float) -> dict[str, Any]:
    loaded = refused = 0
    longest = 0.0
    for _ in range(n):
        content = fuzzed(target, rng)
        target.path.write_bytes(content)
        started = time.perf_counter()
        try:
            target.load()
            loaded += 1
        except EcompError:
            refused += 1
        except BaseException:
            kept = Path("fuzzed").with_suffix(target.path.suffix)
            kept.write_bytes(content)
            print(f"{target.name}: {kept} made this:", flush=True)
            raise
        longest = max(longest, time.perf_counter() - started)
        if longest > limit:
            raise SystemExit(f"{target.name}: one took {longest:.1f} s: {content[:200]!r}")
    target.path.write_bytes(target.sound)
    target.load()  # as it was, it is still loaded
    return {
        "loader": target.name,
        "inputs": n,
        "loaded": loaded,
        "refused": refused,
        "longest_seconds": round(longest, 3),
    }


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
