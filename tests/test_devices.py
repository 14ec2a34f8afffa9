"""`jaxml train` on many devices and in several processes."""

import re
import socket
import subprocess
import sys

import pytest

from jaxml.cli import main

TRAIN = ["train", "linear", "--data", "two_spirals", "--steps", "20"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mesh", "8"], "expected --mesh data=N with N of at least 1, got '8'"),
        (["--mesh", "data=0"], "expected --mesh data=N with N of at least 1, got 'data=0'"),
        (["--mesh", "lanes=1"], "expected --mesh data=N with N of at least 1, got 'lanes=1'"),
        (["--mesh", "data=999"], r"expected --mesh data=\d+ or less, the devices here, got data=9"),
        (["--distributed", "here,2,0"], "expected --distributed HOST:PORT,PROCESSES,INDEX or auto"),
        (["--distributed", "here:1,2,2"], "expected an index below the 2 processes, got 2"),
    ],
)
def test_bad_values_end_in_one_line(arguments, message, capsys):
    assert main([*TRAIN, *arguments]) == 2
    error = capsys.readouterr().err
    assert re.match(f"jaxml: error: {message}", error)
    assert error.count("\n") == 1


def test_a_mesh_of_one_device_is_no_mesh(capsys):
    outputs = []
    for arguments in ([], ["--mesh", "data=1"]):
        assert main([*TRAIN, *arguments]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


@pytest.mark.slow
def test_two_processes_train_one_network():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "jaxml.cli", *TRAIN]
    commands = [command, *([*command, "--distributed", f"{address},2,{i}"] for i in range(2))]
    running = [
        subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for c in commands
    ]
    try:
        (alone, first, second) = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0, 0], (first, second)
    figures = [re.search(r"train loss \S+ accuracy \S+", out)[0] for out in (alone[0], first[0])]
    assert figures[0] == figures[1]
    assert "train loss" not in second[0]  # the first process speaks for both
