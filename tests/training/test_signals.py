"""Ctrl-C and SIGTERM end a run after the chunk, and nothing else is changed by it."""

import os
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from jaxml.core.types import Algorithm, TrainState
from jaxml.training import Chunk, fit, sampling, stop_on_signals

COUNTER = Algorithm(
    lambda key: TrainState(np.int32(0), np.zeros(2), {}, {}),
    lambda state, batch, key: (state.replace(step=state.step + 1), {}),
)


@pytest.fixture(autouse=True)
def heeded():
    """From wherever the tests were started: nohup ignores the signal, and so would a run."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def train(*hooks):
    return fit(
        COUNTER, None, sampling.full(), key=jax.random.key(0), steps=10, chunk=2, hooks=hooks
    )


def kill_at(step, number):
    def hook(chunk):
        if chunk.step == step:
            os.kill(os.getpid(), number)
            time.sleep(0.1)  # the listener is another thread

    return hook


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_ends_after_the_chunk(number, capsys):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    stop = stop_on_signals("finishing")
    seen = []
    run = train(kill_at(4, number), stop, lambda chunk: seen.append(chunk.step))
    assert int(run.state.step) == 4
    assert seen == [2, 4]  # hooks after it see that chunk too
    assert stop.received is number
    assert capsys.readouterr().out == "finishing\n"
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    # the next run is not ended by what ended this one
    assert int(train(stop).state.step) == 10
    assert stop.received is None


def test_entered_around_more_than_one_run():
    with stop_on_signals() as stop:
        train(kill_at(10, signal.SIGINT), stop)
        assert stop.received is signal.SIGINT
        assert int(train(stop).state.step) == 2
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_signal_to_another_process(monkeypatch):
    """Two real ones are in test_devices."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    both = lambda mine: np.array([mine, signal.SIGTERM])  # noqa: E731
    monkeypatch.setattr(multihost_utils, "process_allgather", both)
    with stop_on_signals() as stop:
        assert stop(Chunk(2, 10, None, {}))
        assert stop.received is signal.SIGTERM
        # one that comes here then is the first: this process goes on with what it is finishing
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)


def test_a_signal_after_the_others_were_asked_waits(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    both = lambda mine: np.array([mine, 0])  # noqa: E731

    def late(mine):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return both(mine)

    with stop_on_signals() as stop:
        monkeypatch.setattr(multihost_utils, "process_allgather", late)
        assert not stop(Chunk(2, 10, None, {}))
        monkeypatch.setattr(multihost_utils, "process_allgather", both)
        assert stop(Chunk(4, 10, None, {}))
        assert stop.received is signal.SIGINT


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        stop = stop_on_signals()
        assert int(train(kill_at(4, signal.SIGTERM), stop).state.step) == 10
        assert stop.received is None
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_effect_in_another_thread():
    ends = []
    thread = threading.Thread(target=lambda: ends.append(train(stop_on_signals())))
    thread.start()
    thread.join()
    assert int(ends[0].state.step) == 10


def test_a_second_signal_stops_at_once():
    """Even where the main thread is in a call that does not return to Python."""
    code = (
        "import os, signal, threading, time, jax, jax.numpy as jnp\n"
        "from jaxml.training import stop_on_signals\n"
        "body = lambda x: jnp.sqrt(x + 1)\n"
        "spin = jax.jit(lambda x: jax.lax.while_loop(lambda x: x > 0, body, x))\n"
        "with stop_on_signals():\n"
        "    print('ready', flush=True)\n"
        "    jax.block_until_ready(spin(jnp.float32(1)))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with child:
        try:
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.5)
            for _ in range(2):  # together they are one
                child.send_signal(signal.SIGINT)
                time.sleep(0.1)
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=1)
            child.send_signal(signal.SIGTERM)
            assert child.wait(timeout=5) == 128 + signal.SIGTERM
        finally:
            child.kill()
