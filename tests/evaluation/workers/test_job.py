import pickle
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap import make_toolbox
from ecomp_deap.evaluation.workers import Job, pack_kit, run
from ecomp_deap.evaluation.workers.job import pack_genomes, unpack_genomes
from ecomp_deap.genomes import MaskGenome

MASKS = st.lists(
    st.lists(st.booleans(), min_size=1, max_size=70).filter(any), min_size=1, max_size=4
)


@given(masks=MASKS)
def test_masks_come_back(masks):
    genome = MaskGenome([np.array(mask) for mask in masks])
    (found,) = unpack_genomes(pack_genomes([genome]))
    assert found.key() == genome.key()


def test_genomes_that_carry_weights_go_as_they_are(tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="weights")
    genomes = [individual.plain() for individual in toolbox.population(n=3)]
    assert unpack_genomes(pack_genomes(genomes)) == genomes


def job_for(toolbox, kit, n=5, **options):
    genomes = [individual.plain() for individual in toolbox.population(n=n)]
    return Job(kit.key, 3, 1, True, pack_genomes(genomes), list(range(n)), **options), genomes


def test_a_worker_says_that_it_lacks_the_kit_and_keeps_it_then(tiny_task):
    toolbox = make_toolbox(tiny_task(), seed=2)
    kit = pack_kit(toolbox.evaluator)
    job, genomes = job_for(toolbox, kit)
    assert run(job).outcomes is None
    expected = toolbox.evaluator.measure(genomes, 1, job.seeds)
    assert run(replace(job, source=kit.content)).outcomes == expected
    answer = run(job)
    assert (answer.index, answer.outcomes) == (3, expected)


def test_without_training_no_child_trains(tiny_task):
    toolbox = make_toolbox(tiny_task(train_steps=2), seed=2)
    kit = pack_kit(toolbox.evaluator)
    job, genomes = job_for(toolbox, kit, source=kit.content)
    found = run(replace(job, train=False)).outcomes
    assert found == toolbox.evaluator.measure(genomes, 1, job.seeds, train=False)
    assert found != run(job).outcomes


def test_a_job_takes_little_more_bytes_than_its_genomes(tiny_task):
    toolbox = make_toolbox(tiny_task(), seed=2)
    kit = pack_kit(toolbox.evaluator)
    for n in (1, 25):
        job, genomes = job_for(toolbox, kit, n=n)
        n_units = sum(mask.size for genome in genomes for mask in genome.masks)
        assert len(pickle.dumps(job)) <= n_units + 4096
