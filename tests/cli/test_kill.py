"""Real processes, killed: `kill -9` at random moments, Ctrl-C and SIGTERM, then `--resume`."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxml.core import checksummed_dirs

pytestmark = pytest.mark.slow

TRAIN = "train mlp --data digits --hidden 16 --steps 400 --checkpoint-every 10 --seed 1"


class Jaxml:
    """`jaxml` in processes of its own, in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def start(self, command):
        # files, because a pipe that nobody reads stops who writes to it
        with open(self.folder / "output", "w") as output, open(self.folder / "errors", "w") as e:
            return subprocess.Popen(
                [sys.executable, "-m", "jaxml.cli", *command.split()],
                cwd=self.folder, stdout=output, stderr=e,
            )  # fmt: skip

    def finish(self, child, code):
        """The lines of output of a process that ends with this code."""
        assert child.wait(timeout=200) == code, (self.folder / "errors").read_text()
        return (self.folder / "output").read_text().splitlines()

    def run(self, command):
        return self.finish(self.start(command), 0)

    def interrupt(self, command, number, code, ready):
        """Send a signal once `ready()`; the lines of output."""
        child = self.start(command)
        while child.poll() is None and not ready():
            time.sleep(0.002)
        child.send_signal(number)
        return self.finish(child, code)


@pytest.fixture(scope="module")
def jaxml(tmp_path_factory):
    return Jaxml(tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def whole(jaxml):
    """The last lines of the uninterrupted run, in the folder `whole`."""
    lines = jaxml.run(f"{TRAIN} --out whole")
    assert re.fullmatch("sha256 [0-9a-f]{64}", lines[-1])
    return lines[-4:]


def killed_and_resumed(jaxml, run, moment):
    """Start the run, kill it, and resume it, killing that too by the odds of 1 in 3.

    Args:
        jaxml: what starts it.
        run: the name of its folder.
        moment: a generator of random numbers.

    Returns:
        The steps done at each kill, how many kills left a save half done, and the last lines.
    """
    folder = jaxml.folder / run
    checkpoints = folder / "checkpoints"
    command, at, halves = f"{TRAIN} --out {run}", [], 0

    def done():
        return max(checksummed_dirs.numbers(checkpoints), default=0)

    while not at or (done() < 400 and moment.random() < 1 / 3):
        # from the first moments of the process to the last step, and in some part of the 0.1 s
        # that ten steps and their checkpoint take
        target, wait = done() + moment.randrange(0, 400 - done(), 10), moment.uniform(0, 0.15)
        child = jaxml.start(command)
        while child.poll() is None and (done() < target or not (folder / "config.json").exists()):
            time.sleep(0.001)
        time.sleep(wait)
        child.kill()
        jaxml.finish(child, -signal.SIGKILL)
        at.append(done())
        halves += any(checkpoints.glob(".*.partial"))
        # the latest that is there is whole: none is ever half written under its name
        if checksummed_dirs.numbers(checkpoints):
            checksummed_dirs.checked(checkpoints)
        command = f"train --resume {run}"
    return at, halves, jaxml.run(command)[-4:]


def test_twenty_kills(jaxml, whole):
    moment = random.Random(1)
    kills, halves, runs = [], 0, 0
    while len(kills) < 20:
        run, runs = f"killed-{runs}", runs + 1
        at, half, lines = killed_and_resumed(jaxml, run, moment)
        kills, halves = kills + at, halves + half
        assert lines == whole
        for name in ("metrics.jsonl", "params.npz"):
            expected = (jaxml.folder / "whole" / name).read_bytes()
            assert (jaxml.folder / run / name).read_bytes() == expected
    print(f"{len(kills)} kills of {runs} runs, after {kills} steps, {halves} in mid-save")
    assert halves > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(jaxml, whole, number):
    run = f"stopped-{number}"
    checkpoints = jaxml.folder / run / "checkpoints"
    lines = jaxml.interrupt(
        f"{TRAIN} --out {run}",
        number,
        128 + number,
        lambda: len(checksummed_dirs.numbers(checkpoints)) > 1,
    )
    assert (jaxml.folder / "errors").read_text() == ""
    match = re.fullmatch(
        rf"stopped by {number.name} after step (\d+) of 400; go on with: jaxml (.*)", lines[-1]
    )
    assert checksummed_dirs.numbers(checkpoints)[-1] == int(match[1])
    log = (jaxml.folder / run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["step"] == int(match[1])
    assert jaxml.run(match[2])[-4:] == whole


def test_a_staircase(jaxml, iris):
    np.savez(jaxml.folder / "iris.npz", **iris)
    command = "landscape --data iris.npz --hidden 1:3 --seeds 2 --steps 200 --searches 2"
    lines = jaxml.run(f"{command} --out stairs")
    checkpoints = jaxml.folder / "killed-stairs/checkpoints"
    jaxml.interrupt(
        f"{command} --out killed-stairs", signal.SIGKILL, -signal.SIGKILL,
        lambda: checksummed_dirs.numbers(checkpoints),
    )  # fmt: skip
    assert checksummed_dirs.numbers(checkpoints) == [1]
    # the first width's row is printed again just before the second is begun
    stopped = jaxml.interrupt(
        "landscape --resume killed-stairs", signal.SIGTERM, 128 + signal.SIGTERM,
        lambda: lines[2] in (jaxml.folder / "output").read_text(),
    )  # fmt: skip
    assert stopped[-1] == (
        "stopped by SIGTERM after width 2 of 3; go on with: jaxml landscape --resume killed-stairs"
    )
    again = jaxml.run("landscape --resume killed-stairs")
    assert [line.replace("killed-stairs", "stairs") for line in again] == lines
    points = [Path(jaxml.folder, f, "critical_points.json") for f in ("stairs", "killed-stairs")]
    assert points[0].read_text() == points[1].read_text()
