"""Each message that the guide to troubleshooting quotes is provoked, and is what it says."""

import contextlib
import io
import os
import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from deap import algorithms, tools
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ecomp_deap as ed
from ecomp_deap import cli
from ecomp_deap.errors import EcompError
from ecomp_deap.runs.lock import locked
from tests.markdown import ROOT, importable
from tests.report.made_runs import make_run

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^\| `([^`]+ [^`]+)` \|", PAGE, flags=re.MULTILINE)
PROCESS = 4711  # a process's number, in the page

SMALL = ("--population", "4", "--generations", "0", "--finalise-count", "0", "--quiet")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def samples(n=120):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, 12, generator=generator)
    return inputs, inputs[:, :3].argmax(dim=1)


def task(parent=None, data=None, **options):
    found = network() if parent is None else parent
    return ed.Task(found, samples() if data is None else data, **{"batch_size": 30, **options})


def toolbox(given=None, **options):
    sizes = {"objectives": ("accuracy", "param_count")}
    return ed.make_toolbox(task() if given is None else given, **{**sizes, **options})


def compressed(parent=None, **options):
    sizes = {"population": 4, "generations": 1, "finalise_count": 0}
    return ed.compress(task(parent), objectives=("accuracy", "param_count"), **{**sizes, **options})


def run(*words):
    """Run a command that ends with an error, and raise that."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        assert cli.main(words) == 2
    raise EcompError(printed.getvalue().splitlines()[-1].removeprefix("ecomp-deap: error: "))


PROVOKED = {}


def provokes(beginning):
    """Register what provokes the message that begins so."""

    def register(function):
        PROVOKED[beginning] = function
        return function

    return register


# What is typed.
for _beginning, _words in {
    "unknown option '--popluation'": "run 1 mine --popluation 50",
    "NAME is missing": "run 5",
    "N_RUNS: expected": "run mine",
    "loss_weights: expected only with": "run 1 mine --loss-weights 1,2,1",
    "objectives: expected": "run 1 x --selection roulette --objectives accuracy,mac_count",
    "perplexity: expected at most": "run 1 mine --batch-size 50 --perplexity 30",
    "inherit: expected only with": "run 1 mine --genome width --inherit",
}.items():
    PROVOKED[_beginning] = partial(run, *_words.split())


@provokes("run.toml: unknown option")
def _():
    Path("run.toml").write_text("max_parms = 1000\n")
    run("run", "1", "mine", "--config", "run.toml")


# Parents and their files.


@provokes("parent: mine.pt: expected weights")
def _():
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 5)).state_dict(), "mine.pt")
    run("inspect", "mine.pt")


@provokes("parent: mine.pt holds no state dict")
def _():
    torch.save({"epoch": 3, "model": network().state_dict()}, "mine.pt")
    run("run", "1", "mine", "--parent", "mine.pt", *SMALL)


@provokes("parent: mine.pt holds '0.bias'")
def _():
    torch.save(network().state_dict(), "mine.pt")
    run("run", "1", "mine", "--parent", "mine.pt", *SMALL)


@provokes("parent: mine.pt does not fit")
def _():
    Path("my_models.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Linear(784, 10))\n"
    )
    torch.save(network().state_dict(), "mine.pt")
    run("run", "1", "mine", "--factory", "my_models.py:net", "--parent", "mine.pt", *SMALL)


@provokes("parent: cannot read mine.pt")
def _():
    torch.save(network(), "mine.pt")
    run("run", "1", "mine", "--parent", "mine.pt", *SMALL)


@provokes("parent: expected a network that takes samples of shape (20,)")
def _():
    ed.make_toolbox(task(data=(torch.randn(120, 20), samples()[1])))


@provokes("parent: expected a network that takes samples of shape (12,)")
def _():
    inputs, labels = samples()
    ed.make_toolbox(task(data=(inputs.double(), labels)))


@provokes("search targets: expected labels")
def _():
    inputs, labels = samples()
    ed.make_toolbox(task(data=(inputs, labels + 1)))


INTEGERS = "search targets: expected integers of shape (n,), one class a sample, as the metric is"


@provokes(f"{INTEGERS} accuracy, got float32 of shape (n,)")
def _():
    inputs, labels = samples()
    ed.make_toolbox(task(data=(inputs, labels.float())))


@provokes(f"{INTEGERS} accuracy, got float32 of shape (n, 3)")
def _():
    inputs, labels = samples()
    ed.make_toolbox(task(data=(inputs, nn.functional.one_hot(labels).float())))


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.stack = network()

    def forward(self, x):
        return self.stack(x), x


@provokes("parent: expected outputs of shape")
def _():
    ed.make_toolbox(task(Several()))


@provokes("search data: ")
def _():
    inputs, labels = samples()
    inputs[7, 3] = float("nan")
    ed.make_toolbox(task(data=(inputs, labels)))


@provokes("batch_size: expected at most")
def _():
    ed.make_toolbox(ed.Task(network(), samples(60)))


@provokes("probe layer")
def _():
    dead = network()
    with torch.no_grad():
        dead[0].weight.zero_()
        dead[0].bias.fill_(-1.0)
    ed.make_toolbox(task(dead), objectives=("accuracy", "similarity_loss"))


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 3))

    def forward(self, x):
        return x @ self.weight


@provokes("parent: expected at least one")
def _():
    ed.make_toolbox(task(Product()))


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(12, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


@provokes("genome: expected 'mask' or 'width' for a parent that is no")
def _():
    ed.make_toolbox(task(Plain()), genome="weights", loss_weights=(1, 0, 1))


@provokes("parent: expected a torch.nn.Module, got the class")
def _():
    task(Plain)


@provokes("parent: expected a torch.nn.Module, got a state dict")
def _():
    task(network().state_dict())


@provokes("data: expected Samples")
def _():
    task(data=DataLoader(TensorDataset(*samples())))


@provokes("probe_layers: expected names")
def _():
    ed.make_toolbox(task(probe_layers=["hidden"]))


@provokes("loss_fn: expected")
def _():
    def counted(outputs, targets):
        return (outputs.argmax(dim=1) != targets).float().mean()

    ed.make_toolbox(task(train_steps=1, loss_fn=counted))


@provokes("worst: expected")
def _():
    ed.Metric(lambda outputs, targets: 0.0, "error", maximise=False)


@provokes("inherit: expected train_steps")
def _():
    task(inherit=True)


@provokes("max_params: ")
def _():
    ed.make_toolbox(task(max_params=10))


# DEAP.


@provokes("selTournament would go by")
def _():
    toolbox().register("select", tools.selTournament, tournsize=3)


@provokes("selNSGA2 ranks")
def _():
    toolbox(objectives=None, loss_weights=(1, 0, 1)).register("select", tools.selNSGA2)


@provokes("selNSGA2 was asked")
def _():
    box = toolbox()
    algorithms.eaSimple(box.population(n=8), box, cxpb=0.7, mutpb=0.3, ngen=3, verbose=False)


@provokes("metric of statistics")
def _():
    metric = ed.Metric(lambda outputs, targets: 0.0, "error", maximise=False, worst=1.0)
    box = toolbox(task(metric=metric), objectives=("error", "param_count"))
    population = box.population(n=4)
    box.map(box.evaluate, population)
    ed.statistics()["accuracy"].compile(population)


@provokes("population: expected individuals with a measurement")
def _():
    ed.statistics().compile(toolbox().population(n=4))


@provokes("toolbox: expected one that has not evaluated")
def _():
    box = toolbox()
    ed.evolve(box, population=4, generations=0, finalise_count=0)
    ed.evolve(box, population=4, generations=0, finalise_count=0)


@provokes("logbook: expected a weighted fitness")
def _():
    ed.export_logbook(compressed().logbook, "original.json", format="ecomp")


# While it runs.


@provokes("generation 0: ")
def _():
    fast = ed.Recipe(learning_rate=1e30, optimizer="sgd")
    box = toolbox(task(train_steps=3, training=fast))
    box.map(box.evaluate, box.population(n=8))


@provokes("search: is in use")
def _():
    Path("search").mkdir()
    with locked(Path("search")):
        compressed(checkpoint="search")


@provokes("search.journal: is of another search")
def _():
    for seed in (1, 2):
        box = toolbox(seed=seed)
        with ed.recorded(box, "search.journal"):
            box.map(box.evaluate, box.population(n=4))


@provokes("search: is of another search")
def _():
    compressed(checkpoint="search")
    compressed(checkpoint="search", resume=True, population=5)


@provokes("search: holds")
def _():
    compressed(checkpoint="search")
    compressed(checkpoint="search")


@provokes("search: all saves")
def _():
    compressed(checkpoint="search")
    for path in Path("search").rglob("*.json"):
        path.write_text("{")
    compressed(checkpoint="search", resume=True)


@provokes("mine_1: expected the folder of a run")
def _():
    make_run(Path("results"), "mine")
    run("resume", "mine_1")


# What came out.


@provokes("results: expected the folder of a finished run")
def _():
    make_run(Path("results"), "mine")
    run("report", "results")


@provokes("param_count: ")
def _():
    compressed().most_accurate_under(20)


@provokes("example: expected a batch of inputs for")
def _():
    ed.inspect(Plain())


@provokes("example: expected a batch of inputs, which")
def _():
    ed.export(compressed(Plain()).best, "best.pt2")


@provokes("best.safetensors: ")
def _():
    ed.export(compressed(Plain()).best, "best.safetensors", example=torch.randn(2, 12))
    ed.load_child("best.safetensors")


@provokes("factory: ")
def _():
    ed.export(compressed(Plain()).best, "best.safetensors", example=torch.randn(2, 12))
    ed.load_child("best.safetensors", factory=network)


@provokes("damaged.safetensors: ")
def _():
    ed.export(compressed().best, "damaged.safetensors")
    content = bytearray(Path("damaged.safetensors").read_bytes())
    content[-1] ^= 1
    Path("damaged.safetensors").write_bytes(content)
    ed.load_child("damaged.safetensors")


@provokes("format onnx: ")
def _():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        ed.export(compressed().best, "best.onnx", example=torch.randn(2, 12))


@provokes("nowhere: ")
def _():
    run("run", "1", "mine", "--data-dir", "nowhere", *SMALL)


@provokes("parent: expected a network that takes samples of shape (784,)")
def _():
    Path("conv.py").write_text(
        "from torch import nn\n\n\ndef net():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.Flatten(), nn.Linear(2304, 10))\n"
    )
    run("run", "1", "mine", "--factory", "conv.py:net", "--parent-epochs", "1", *SMALL)


@provokes("parent: expected a network that takes samples of shape (1, 28, 28)")
def _():
    Path("conv3.py").write_text(
        "from torch import nn\n\n\ndef net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(2304, 10))\n"
    )
    run("run", "1", "mine", "--factory", "conv3.py:net", "--images", *SMALL)


@provokes("--factory: ")
def _():
    Path("my_models.py").write_text("LeNet = None\n")
    run("run", "1", "mine", "--factory", "my_models.py:LeNet5", *SMALL)


@pytest.mark.parametrize("beginning", PROVOKED)
def test_message_is_what_is_said(beginning, tmp_path, monkeypatch):
    (quoted,) = [message for message in QUOTED if message.startswith(beginning)]
    monkeypatch.chdir(tmp_path)
    with importable(tmp_path), pytest.raises(EcompError) as caught:
        PROVOKED[beginning]()
    message = str(caught.value).replace(f"process {os.getpid()}", f"process {PROCESS}")
    if quoted.endswith("…"):
        message = message[: len(quoted) - 1] + "…"
    assert message == quoted


def test_every_message_is_provoked():
    assert len(QUOTED) == len(PROVOKED)
