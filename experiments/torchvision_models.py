"""Are children of torchvision's models exactly the masked parent, and are they faster?

Each model, with random weights, is searched for groups; 20 random genomes are compiled, and each
child's outputs compared with those of the parent whose layers read the removed units as 0. Each
model has a process of its own, whose memory is measured above what its imports take. Of two models
a child of half the widths is timed against the parent, in turns. Writes ``results.csv`` and
``table.md`` into OUT; fails if a child differs by more than the tolerance.

    python experiments/torchvision_models.py
"""

import argparse
import csv
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

MODELS = (
    *("resnet18", "resnet50", "vgg11_bn", "mobilenet_v2", "mobilenet_v3_small", "densenet121"),
    *("efficientnet_b0", "googlenet", "squeezenet1_0", "convnext_tiny", "regnet_y_400mf"),
    *("shufflenet_v2_x0_5", "vit_b_16", "swin_t"),
)
TIMED = ("resnet18", "vgg11_bn")
# Pixels a side, where a model does not take 64.
SIZES = {"vit_b_16": 224}
TOLERANCE = 1e-5


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/torchvision"
    )
    arguments.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    arguments.add_argument("--genomes", type=int, default=20)
    arguments.add_argument("--one", choices=MODELS, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one:
        print(json.dumps(examine(options.one, options.genomes)))
        return
    rows = []
    for name in options.models:
        command = [sys.executable, __file__, "--one", name, "--genomes", str(options.genomes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr.strip()}")
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    lines = [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in rows]
    (options.out / "table.md").write_text("\n".join(lines) + "\n")
    apart = [row["model"] for row in rows if not row["largest_difference"] <= TOLERANCE]
    if apart:
        raise SystemExit(f"children of {apart} differ by more than {TOLERANCE:g}")


def examine(name: str, n_genomes: int) -> dict[str, object]:
    """Return a model's row.

    Args:
        name: Of the model.
        n_genomes: Random genomes to compile, of all sizes.
    """
    import numpy as np
    import torch
    import torch_pruning  # noqa: F401  its memory is no network's
    import torchvision

    from ecomp_deap import MaskGenome
    from ecomp_deap.network import compile_child, find_structure, param_count
    from ecomp_deap.network.proof import masked_parent

    before = _peak_gib()
    torch.manual_seed(0)
    extra = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, **extra).eval()
    size = SIZES.get(name, 64)
    inputs = torch.randn(2, 3, size, size)
    _enliven(network, inputs)
    started = time.perf_counter()
    structure = find_structure(network, inputs)
    found_s = time.perf_counter() - started
    state = network.state_dict()
    arrays = {tensor: state[tensor].numpy() for tensor in structure.tensors}
    rng = np.random.default_rng(0)
    largest, spent, shares = 0.0, found_s, []
    memory, least = 0.0, math.inf
    for _ in range(n_genomes):
        masks = [rng.random(group.n_units) < rng.random() for group in structure.groups]
        for mask in masks:
            mask[rng.integers(mask.size)] = True
        started = time.perf_counter()
        child = compile_child(network, structure, MaskGenome(masks), arrays=arrays)
        with torch.no_grad():
            outputs = child(inputs)
        spent += time.perf_counter() - started
        memory = memory or _peak_gib() - before  # before the slow twin takes its own
        with torch.no_grad():
            expected = masked_parent(network, structure, masks)(inputs)
            whole = network(inputs)
        scale = expected.abs().max()
        difference = float((outputs - expected).abs().max() / scale)
        least = min(least, float((whole - expected).abs().max() / scale))
        largest = max(largest, difference)
        shares.append(param_count(child) / param_count(network))
    row: dict[str, object] = {
        "model": name,
        "groups": len(structure.groups),
        "units": sum(structure.widths),
        "layers_left_alone": len([layer for layer in structure.left_alone if layer[0] != "("]),
        "seconds_to_find": round(found_s, 2),
        "seconds_with_children": round(spent, 2),
        "memory_gib": round(memory, 2),
        "largest_difference": float(f"{largest:.1e}"),
        "least_change_from_parent": float(f"{least:.1e}"),
        "smallest_child": round(min(shares), 3),
        "half_width_speedup": "",
    }
    if name in TIMED:
        row["half_width_speedup"] = round(_speedup(network, structure, arrays), 2)
    return row


def _enliven(network, inputs) -> None:  # type: ignore[no-untyped-def]
    """Let outputs depend on every layer: nothing switched off, and norms that have seen samples."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for name, parameter in network.named_parameters():
        # A head of zeros, or branches that begin switched off.
        if not name.endswith(".bias") and parameter.abs().max() <= 1e-5:
            torch.nn.init.normal_(parameter, std=0.5)
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        network(inputs)
    network.eval()


def _speedup(network, structure, arrays) -> float:  # type: ignore[no-untyped-def]
    """Return how many times as fast a child of half the widths is, on a batch of 8."""
    import numpy as np
    import torch

    from ecomp_deap import MaskGenome
    from ecomp_deap.network import compile_child, latency_ms, speedup

    masks = [np.arange(group.n_units) % 2 == 0 for group in structure.groups]
    child = compile_child(network, structure, MaskGenome(masks), arrays=arrays).eval()
    inputs = torch.randn(8, 3, 64, 64)
    found = latency_ms({"parent": network, "child": child}, inputs)
    return speedup(found, "child", "parent")


def _peak_gib() -> float:
    """Return the highest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
