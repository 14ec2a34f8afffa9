"""`jaxml train` on many devices and in several processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from jaxml.cli import main
from jaxml.core import checksummed_dirs

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


@pytest.mark.slow
def test_a_mesh_of_one_device_is_no_mesh(tmp_path, monkeypatch, capsys):
    outputs = []
    for folder, arguments in (("plain", []), ("mesh", ["--mesh", "data=1"])):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        assert main([*TRAIN, *arguments]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def start(folder, command, processes):
    """The command in so many processes that work together."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    together = [[f"--distributed={address},{processes},{index}"] for index in range(processes)]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "jaxml.cli", *command, *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in (together if processes > 1 else [[]])
    ]


def finish(running, code=0):
    """What processes that end with this code wrote to their output."""
    try:
        texts = [process.communicate(timeout=200) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [code] * len(running), texts
    told = [line for _, errors in texts for line in errors.splitlines()]
    assert all(re.match(r"training \d+ of \d+  loss ", line) for line in told), told
    return [output for output, _ in texts]


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    alone, both = start(tmp_path / "alone", TRAIN, 1), start(tmp_path / "both", TRAIN, 2)
    (alone,), (first, second) = finish(alone), finish(both)
    figures = [re.search(r"train loss \S+ accuracy \S+", out)[0] for out in (alone, first)]
    assert figures[0] == figures[1]
    assert "train loss" not in second  # the first process speaks for both
    assert os.listdir(tmp_path / "both/runs") == ["train-1"]
    config = json.loads((tmp_path / "both/runs/train-1/config.json").read_text())
    assert "--distributed" in config.pop("command_line")
    assert "distributed" not in json.dumps(config)


@pytest.mark.slow
def test_two_processes_stopped_by_a_signal_to_one_go_on(tmp_path):
    command = ["train", "mlp", "--data", "two_spirals", "--steps", "400", "--checkpoint-every=10"]
    whole, _ = finish(start(tmp_path, [*command, "--out", "whole"], 2))
    log, command = tmp_path / "stopped/metrics.jsonl", [*command, "--out", "stopped"]

    def lines():
        return log.read_text().count("\n") if log.exists() else 0

    for reached in (1, 0):
        running, until, end = start(tmp_path, command, 2), lines() + 3, time.monotonic() + 200
        while lines() < until and running[0].poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        running[reached].send_signal(signal.SIGTERM)
        outputs = finish(running, 128 + signal.SIGTERM)
        step = json.loads(log.read_text().splitlines()[-1])["step"]
        assert outputs[0].splitlines()[-1] == (
            f"stopped by SIGTERM after step {step} of 400; go on with: "
            "jaxml train --resume stopped --distributed …"
        )
        assert ["finishing this chunk" in output for output in outputs] == [
            index == reached for index in range(2)
        ]
        assert checksummed_dirs.numbers(tmp_path / "stopped/checkpoints")[-1] == step
        command = ["train", "--resume", "stopped"]
    resumed, second = finish(start(tmp_path, command, 2))
    assert f"stopped: going on after step {step} of 400" in resumed
    assert resumed.splitlines()[-3:] == whole.splitlines()[-3:]  # with the sha256
    assert "sha256" not in second
    for name in ("metrics.jsonl", "params.npz"):
        assert (tmp_path / "stopped" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes()
    files = [sorted(os.listdir(tmp_path / run)) for run in ("stopped", "whole")]
    assert files[0] == files[1] == [
        "checkpoints", "config.json", "metrics.json", "metrics.jsonl", "params.npz", "report.html"
    ]  # fmt: skip
    assert sorted(os.listdir(tmp_path)) == ["stopped", "whole"]
