import inspect
import logging
import random
from pathlib import Path

import pytest

from ecomp_deap.callbacks import Callback, Callbacks, as_callback
from ecomp_deap.errors import ArgumentError

HOOKS = [
    name
    for name, value in vars(Callback).items()
    if inspect.isfunction(value) and not name.startswith("__")
]


class Recorder(Callback):
    """Keeps every call of a hook."""

    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        if name not in HOOKS:
            return super().__getattribute__(name)
        return lambda *args, **options: self.calls.append((name, args, options))


class Broken(Recorder):
    """Raises an error in one hook, after drawing a random number."""

    vital = False

    def __init__(self, hook):
        super().__init__()
        self.hook = hook

    def __getattribute__(self, name):
        if name not in HOOKS:
            return super().__getattribute__(name)
        call = super().__getattribute__(name)

        def hook(*args, **options):
            call(*args, **options)
            random.random()
            if name == self.hook:
                raise OSError("no space\nleft")

        return hook


def arguments_of(hook):
    """Return something for each of a hook's arguments."""
    return tuple(range(len(inspect.signature(getattr(Callback, hook)).parameters) - 1))


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


@pytest.mark.parametrize("hook", HOOKS)
def test_several_are_told_of_everything_in_order(hook):
    first, second = Recorder(), Recorder()
    arguments = arguments_of(hook)
    getattr(Callbacks(first, second), hook)(*arguments)
    assert first.calls == second.calls == [(hook, arguments, {})]


def test_an_argument_may_be_one_several_or_none():
    one, other = Recorder(), Recorder()
    assert as_callback(one) is one
    assert as_callback([one]) is one
    as_callback((one, other)).on_phase("scoring", total=3)
    assert one.calls == other.calls == [("on_phase", ("scoring",), {"total": 3})]
    for nothing in (None, []):
        assert as_callback(nothing).on_phase_step() is None


@pytest.mark.parametrize("given", [3, "x", Callback, [Callback], [Callback(), None], {Callback()}])
def test_what_is_no_callback_is_refused(given):
    with pytest.raises(ArgumentError, match=r"^callback: expected a Callback, or a list"):
        as_callback(given)


def test_one_that_is_not_vital_is_left_out_when_it_fails_and_the_others_are_told():
    vital, broken, sound = Recorder(), Broken("on_phase"), Broken("")
    callback = as_callback([broken, vital, sound])
    callback.on_phase("scoring", 3)
    callback.on_phase_step()
    callback.close()
    told = "Broken is left out of this run: OSError: no space left"
    assert ("on_message", (told,), {}) in vital.calls
    assert [name for name, *_ in vital.calls] == [
        *("on_message", "on_phase", "on_phase_step", "close")
    ]
    assert [name for name, *_ in broken.calls] == ["on_phase", "close"]
    assert [name for name, *_ in sound.calls] == ["on_phase", "on_phase_step", "close"]


def test_it_is_back_for_the_next_run():
    vital, broken = Recorder(), Broken("on_phase")
    callback = as_callback([vital, broken])
    for _ in range(2):
        callback.on_run_start(1, 1, Path("out"), 3)
        callback.on_phase("scoring", 3)
        callback.on_phase("finalising", 3)
    assert [name for name, *_ in broken.calls] == ["on_run_start", "on_phase"] * 2
    assert [name for name, *_ in vital.calls].count("on_message") == 2


def test_where_no_one_can_be_told_it_is_logged(caplog):
    callback = as_callback(Broken("on_phase"))
    with caplog.at_level(logging.WARNING):
        callback.on_phase("scoring", 3)
        callback.on_phase("scoring", 3)
        callback.close()
    assert caplog.messages == ["Broken is left out of this run: OSError: no space left"]


def test_a_vital_one_ends_the_run_by_its_error():
    broken = Broken("on_phase")
    broken.vital = True
    with pytest.raises(OSError, match="no space"):
        as_callback([Callback(), broken]).on_phase("scoring", 3)


@pytest.mark.parametrize("hook", ["on_phase", ""])
def test_one_that_is_not_vital_draws_no_random_numbers_of_the_search(hook):
    random.seed(1)
    wanted = random.random()
    random.seed(1)
    as_callback(Broken(hook)).on_phase("scoring", 3)
    assert random.random() == wanted


def test_an_interrupt_is_no_failure():
    class Interrupted(Callback):
        vital = False

        def on_phase_step(self):
            raise KeyboardInterrupt("now")

    with pytest.raises(KeyboardInterrupt, match="now"):
        as_callback(Interrupted()).on_phase_step()


def test_a_with_statement_closes_it_whatever_happens():
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError, match="inside"), recorder:
        raise ZeroDivisionError("inside")
    assert recorder.calls == [("close", (), {})]
