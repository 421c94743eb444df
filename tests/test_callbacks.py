from pathlib import Path

from ecomp_deap.callbacks import Callback


def test_every_hook_does_nothing_until_overridden():
    callback = Callback()
    record: dict[str, float] = {}
    for result in (
        callback.on_run_start(1, 2, Path("out"), 60),
        callback.on_phase("training", 3),
        callback.on_phase_step(),
        callback.on_generation(0, 60, record),
        callback.on_front(0, [record], [0.5]),
        callback.on_message("text"),
        callback.on_run_end(record),
        callback.close(),
    ):
        assert result is None
    assert record == {}
