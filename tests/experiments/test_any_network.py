"""Networks as users write them: what is known of each, and the script that compresses them."""

import json

import pytest
import torch
from torch import nn

from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, find_structure, param_count
from ecomp_deap.network.proof import masked_parent
from tests.architectures import random_masks
from tests.experiments.scripts import load, read_table, run_main

NETWORKS = load("networks")

# Of each network its parameters, and the groups that can be cut, with their units.
EXPECTED = {
    "lenet5": (61_706, {"conv1": 6, "conv2": 16, "fc1": 120, "fc2": 84}),
    "resnet20": (
        272_186,
        {
            "stem.0": 16,
            **{f"blocks.{i}.conv1": (16, 32, 64)[i // 3] for i in range(9)},
            **{"blocks.3.conv2": 32, "blocks.6.conv2": 64},
        },
    ),
    "vit": (
        154_954,
        {
            **{f"blocks.{i}.attention": 4 for i in range(3)},
            **{f"blocks.{i}.mlp.0": 256 for i in range(3)},
        },
    ),
    "concat": (
        111_514,
        {
            **{"first.small": 8, "first.large": 8, "first.mix": 16},
            **{"second.small": 16, "second.large": 16, "second.mix": 32, "hidden": 64},
        },
    ),
}


def network_and_images(name):
    """A network in eval mode, whose batch norms have seen images, and other images."""
    generator = torch.Generator().manual_seed(0)
    network = NETWORKS.build(name, seed=1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.rand(8, 1, 28, 28, generator=generator))
    return network.eval(), torch.rand(3, 1, 28, 28, generator=generator)


def test_every_network_is_expected_here():
    assert set(NETWORKS.NETWORKS) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_networks_have_their_parameters_and_groups(name):
    network, images = network_and_images(name)
    n_params, groups = EXPECTED[name]
    assert param_count(network) == n_params
    assert network(images).shape == (3, 10)
    structure = find_structure(network, images)
    assert {group.name: group.n_units for group in structure.groups} == groups


@pytest.mark.parametrize("name", EXPECTED)
def test_children_are_the_masked_parent_exactly(name):
    network, images = network_and_images(name)
    structure = find_structure(network, images)
    with torch.no_grad():
        whole = network(images)
    for seed in range(3):
        masks = random_masks(structure.widths, seed)
        child = compile_child(network, structure, MaskGenome(masks))
        with torch.no_grad():
            found, expected = child(images), masked_parent(network, structure, masks)(images)
        scale = expected.abs().max()
        assert (found - expected).abs().max() <= 1e-5 * scale
        assert (whole - expected).abs().max() > 1e-3 * scale
        assert type(child) is type(network)


def test_a_seed_makes_the_same_network_and_leaves_the_stream_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a, b, c = (NETWORKS.build("vit", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["positions"], c["positions"])


@pytest.fixture(scope="module")
def arguments(small_fashion):
    numbers = {
        **{"images": 800, "epochs": 4, "population": 8, "generations": 1, "train-steps": 1},
        **{
            "finalise-count": 2,
            "finalise-epochs": 1,
            "threads": 1,
            "rounds": 1,
            "share": 0.2,
            "largest": 0.3,
        },
    }
    given = [f"--{name}={value}" for name, value in numbers.items()]
    return [*given, "--networks", "lenet5", "--data-dir", small_fashion]


@pytest.fixture(scope="module")
def out(arguments, tmp_path_factory):
    """What the script writes."""
    out = tmp_path_factory.mktemp("any-network")
    run_main("any_network", *arguments, "--out", out)
    return out


def test_rows_tables_and_a_figure_are_written(out):
    fronts, table = read_table(out / "fronts.csv"), read_table(out / "table.csv")
    assert {row["network"] for row in (*fronts, *table)} == {"lenet5"}
    assert [row["child"] for row in table][:2] == ["parent", "within 1 point"]
    n_params, groups = EXPECTED["lenet5"]
    assert int(table[0]["param_count"]) == n_params
    assert all(float(row["speedup"]) > 0 for row in table)
    assert f"{n_params:,d}" in (out / "table.md").read_text(encoding="utf-8")
    text = (out / "lenet5.txt").read_text(encoding="utf-8")
    assert all(group in text for group in groups)
    assert (out / "fronts.png").stat().st_size > 10_000


def test_validation_chooses_among_small_children(out):
    small = [row for row in read_table(out / "fronts.csv") if float(row["param_share"]) <= 0.2]
    best = max(small, key=lambda row: float(row["validation_accuracy"]))
    (chosen,) = (row for row in read_table(out / "table.csv") if row["child"] == "at most 20 %")
    assert chosen["widths"] == best["widths"]
    assert chosen["test_accuracy"] == best["test_accuracy"]


def test_no_child_is_larger_than_allowed(out):
    run = json.loads((out / "runs/lenet5_seed_1.json").read_text(encoding="utf-8"))
    assert run["settings"]["largest"] == 0.3
    assert all(row["param_share"] <= 0.3 for row in run["front"])


def test_finished_runs_are_kept_and_other_settings_refused(out, arguments, capsys):
    before = {path: path.read_bytes() for path in (out / "runs").iterdir()}
    assert len(before) == 1
    run_main("any_network", *arguments, "--out", out)
    assert {path: path.read_bytes() for path in (out / "runs").iterdir()} == before
    assert capsys.readouterr().out.strip() == (out / "table.md").read_text().strip()
    with pytest.raises(SystemExit, match=r"other settings \(epochs"):
        run_main("any_network", *arguments, "--epochs", 2, "--out", out)
