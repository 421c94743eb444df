"""Seen to fail without what protects: experiments/reliability/protections.py."""

import os
import signal
import threading

import pytest

from ecomp_deap.interrupts import Interrupted, Interrupts


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_raises_at_once_where_it_is_not_held(number, code):
    with Interrupts(pytest.fail), pytest.raises(Interrupted) as error:
        send(number)
    assert error.value.exit_code == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_held_and_the_second_raises(number):
    told = []
    with Interrupts(told.append) as interrupts:
        hold = interrupts.held()
        hold.__enter__()
        interrupts.check()
        send(number)
        assert interrupts.pending
        assert told == ["stopping after this generation; again to stop at once"]
        with pytest.raises(Interrupted):
            send(number)
        with pytest.raises(Interrupted):
            interrupts.check()
        with pytest.raises(Interrupted):
            hold.__exit__(None, None, None)


def test_a_line_that_cannot_be_written_now_is_left_out():
    def tell(text):
        raise RuntimeError("reentrant call inside a writer")

    with Interrupts(tell) as interrupts:
        hold = interrupts.held()
        hold.__enter__()
        send(signal.SIGINT)
        assert interrupts.pending


def test_handlers_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts(print):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_other_threads_have_no_handlers():
    before = signal.getsignal(signal.SIGINT)

    def run():
        with Interrupts(print):
            found.append(signal.getsignal(signal.SIGINT))

    found = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]
