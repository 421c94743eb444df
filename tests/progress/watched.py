"""A run as a callback is told of it."""

from pathlib import Path


def record(generation):
    return {
        "nevals": 40,
        "accuracy_max": 0.5 + generation / 1000,
        "similarity_loss_min": 0.25,
        "relative_width_min": 0.125,
    }


def front(n=12):
    counts = [2000 * 3**i for i in range(n)]
    return [
        {
            "accuracy": 0.3 + 0.05 * i,
            "similarity_loss": 2 - i / 10,
            "relative_width": 0.1 + i / 100,
            "param_count": count,
            "param_share": count / counts[-1],
        }
        for i, count in enumerate(counts)
    ]


def begin(progress, n_generations=60, *, until=None):
    """Tell of a run until its last generation, or another one."""
    progress.on_run_start(2, 3, Path("out/first_2"), n_generations)
    hypervolumes = []
    for generation in range((n_generations if until is None else until) + 1):
        hypervolumes.append(generation / 100)
        progress.on_generation(generation, n_generations, record(generation))
        progress.on_front(generation, front(), tuple(hypervolumes))


def watch(progress, n_generations=60):
    """Tell of a run from the parent's training to its end."""
    progress.on_phase("training the parent", 2)
    progress.on_phase_step()
    progress.on_message("the slice is used")
    progress.on_phase_step()
    begin(progress, n_generations)
    progress.on_phase("finalising", 1)
    progress.on_phase_step()
    progress.on_run_end({})
    progress.close()
