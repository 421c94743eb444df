"""Is every flipped bit of a large save found? And is nothing found that is not there?

A save of ``--megabytes`` of tensors is made. Then, so many times, one bit of one of its files is
flipped, by chance in proportion to the files' sizes; it is read, and must be refused with the
file's name; the bit is put back. Each hundredth time it is read as it was, and must be whole.

Writes ``damage.csv`` into OUT.

    python experiments/reliability/damage.py --flips 10000
"""

import argparse
import random
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ecomp_deap import export_logbook
from ecomp_deap.runs.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--flips", type=int, default=10_000, help="one at a time")
    parser.add_argument("--megabytes", type=float, default=4.0, help="of the save")
    parser.add_argument("--seed", type=int, default=0, help="of tensors and flips")
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    options = parser.parse_args()
    rng, numbers = random.Random(options.seed), np.random.default_rng(options.seed)
    n_floats = int(options.megabytes * 2**20 / 4)
    arrays = {"weight": numbers.standard_normal(n_floats).astype(np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        text = ("[" + "1," * 20_000 + "1]").encode()
        store.save(7, {"arrays.safetensors": save(arrays), "state.json": text})
        paths = sorted(Path(folder, "000007").iterdir())
        sizes = [path.stat().st_size for path in paths]
        found = {path.name: 0 for path in paths}
        tried = {path.name: 0 for path in paths}
        false_alarms = n_whole = 0
        for i in range(options.flips):
            # The small files too: each third flip is in any of them, wherever that is.
            (path,) = rng.choices(paths, sizes if i % 3 else None)
            tried[path.name] += 1
            found[path.name] += _is_found(store, path, rng)
            if i % 100 == 0:
                n_whole += 1
                false_alarms += store.newest()[0] is None
    for name in tried:
        print(f"{name}: {found[name]} of {tried[name]} flips found")
    print(f"whole: {false_alarms} false alarms in {n_whole}")
    rows = [{"file": name, "flips": tried[name], "found": found[name]} for name in tried]
    rows.append({"file": "none", "flips": n_whole, "found": false_alarms})
    export_logbook(rows, options.out / "damage.csv")
    if found != tried or false_alarms:
        raise SystemExit("damage was not told from what is whole")


def _is_found(store: Store, path: Path, rng: random.Random) -> bool:
    place, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
    with open(path, "r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))
    whole, wrong = store.newest()
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(bytes([byte]))
    return whole is None and str(path) in wrong[0]


if __name__ == "__main__":
    main()
