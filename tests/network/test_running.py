import torch
from torch import nn

from ecomp_deap.network.running import run
from ecomp_deap.task import default_forward


class Drawing(nn.Module):
    """Writes into its inputs and draws random numbers, in whatever mode it is."""

    def forward(self, x):
        return x.mul_(2) + torch.randn(3)


def test_runs_give_the_same_and_change_neither_inputs_nor_generators():
    inputs = torch.ones(2, 3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = run(Drawing(), inputs, default_forward)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(run(Drawing(), inputs, default_forward), first)
    assert torch.equal(inputs, torch.ones(2, 3))
