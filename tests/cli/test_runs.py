"""Runs that are interrupted and go on: the same end to the bit, and what is refused by the way."""

import contextlib
import dataclasses
import fcntl
import io
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import data, landscape, load, nn, staircase, training
from jaxml.cli import main
from jaxml.cli.commands import train
from jaxml.cli.datasets import load_dataset
from jaxml.cli.options import parsed
from jaxml.core.finding import finding
from jaxml.studies.topics import staircase_view
from jaxml.training import schedules

TRAIN = "train mlp --data two_spirals --hidden 8 --steps 40 --checkpoint-every 4"


def run(command, capsys, code=0):
    """Its lines of output, or of errors."""
    got = main(command.split())
    captured = capsys.readouterr()
    assert got == code, captured.err
    return (captured.err if code == 2 else captured.out).splitlines()


def interrupting(steps, number):
    """What takes the place of the progress bar: it sends this process a signal at some steps."""

    def hook(chunk):
        if chunk.step in steps:
            os.kill(os.getpid(), number)
            time.sleep(0.1)

    return lambda *arguments: hook


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A folder with an uninterrupted run, `whole`, and its last lines."""
    folder, said = tmp_path_factory.mktemp("runs"), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said):
        assert main([*TRAIN.split(), "--out", "whole"]) == 0
    return folder, said.getvalue().splitlines()[-4:]


@pytest.fixture
def whole(uninterrupted, tmp_path, monkeypatch):
    """The last lines of an uninterrupted run in the folder `whole`."""
    folder, lines = uninterrupted
    shutil.copytree(folder / "whole", tmp_path / "whole")
    monkeypatch.chdir(tmp_path)
    return lines


def same_records():
    for name in ("metrics.jsonl", "params.npz"):
        assert Path("whole", name).read_bytes() == Path("runs/train-1", name).read_bytes()
    kept = [sorted(os.listdir(f"{run}/checkpoints")) for run in ("whole", "runs/train-1")]
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_interrupted_twice_and_gone_on_with(whole, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(training, "progress", interrupting([8], signal.SIGINT))
        assert run(TRAIN, capsys, 130)[-2:] == [
            "finishing this chunk of steps; once more stops at once",
            "stopped by SIGINT after step 8 of 40; go on with: jaxml train --resume runs/train-1",
        ]
        patch.setattr(training, "progress", interrupting([20, 24], signal.SIGTERM))
        lines = run("train --resume runs/train-1", capsys, 143)
    assert "runs/train-1: going on after step 8 of 40" in lines
    assert "stopped by SIGTERM after step 20 of 40; go on with" in lines[-1]
    assert not Path("runs/train-1/metrics.json").exists()
    assert run("train --resume runs/train-1", capsys)[-4:] == whole
    same_records()
    # a run that is done says its result again
    lines = run("train --resume runs/train-1", capsys)
    assert "runs/train-1: all steps are done" in lines
    assert lines[-4:] == whole


@pytest.mark.slow
def test_a_lengthened_run(whole, capsys):
    run(f"{TRAIN.replace('40', '20')} --out short", capsys)
    lines = run("train --resume short --steps 40", capsys)
    assert "short: going on after step 20 of 40" in lines
    assert lines[-4:] == whole
    assert Path("short/params.npz").read_bytes() == Path("whole/params.npz").read_bytes()
    assert json.loads(Path("short/config.json").read_text())["steps"] == 40


LONG = {"--steps": ("--steps 75", 75), "--epochs": ("--epochs 8", 72)}


@pytest.mark.slow
@pytest.mark.parametrize("unit", LONG)
def test_a_lengthened_run_is_one_that_was_asked_for_so_much(unit, tmp_path, monkeypatch, capsys):
    """Finished or stopped, to the bit, with all of its state: dropout, batch norm, momenta."""
    monkeypatch.chdir(tmp_path)
    command = "train mlp --data two_spirals --hidden 8 --norm batch --dropout 0.2"
    more, steps = LONG[unit]
    whole = run(f"{command} {more} --checkpoint-every 12 --out whole", capsys)[-4:]
    short = f"{command} --steps 36 --checkpoint-every 12 --out "
    assert run(f"{short} finished", capsys)[-4:] != whole
    with monkeypatch.context() as patch:
        patch.setattr(training, "progress", interrupting([24], signal.SIGTERM))
        run(f"{short} stopped", capsys, 143)
        patch.setattr(training, "progress", interrupting([48], signal.SIGTERM))
        lines = run(f"train --resume finished {more}", capsys, 143)
        assert lines[-1].startswith(f"stopped by SIGTERM after step 48 of {steps}; go on with")
    # the run knows by then where it goes
    assert run("train --resume finished", capsys)[-4:] == whole
    assert run(f"train --resume stopped {more}", capsys)[-4:] == whole
    config = json.loads(Path("whole/config.json").read_text())
    for folder in ("finished", "stopped"):
        for name in ("metrics.jsonl", "params.npz", "model_state.npz"):
            assert Path(folder, name).read_bytes() == Path("whole", name).read_bytes()
        for saved in Path("whole/checkpoints").glob("*/checkpoint.json"):
            assert (Path(folder) / saved.relative_to("whole")).read_text() == saved.read_text()
        arguments = json.loads(Path(folder, "config.json").read_text())
        assert arguments["steps"] == steps
        assert arguments["arguments"] | {"out": "whole"} == config["arguments"]
    state = [restored(folder, steps) for folder in ("whole", "finished", "stopped")]
    assert state[0] == state[1] == state[2]


def restored(folder, step):
    """All of a checkpoint's bytes: Adam's moments, the parameters, the statistics, the step."""
    config = json.loads(Path(folder, "config.json").read_text())
    options = parsed(train.Train, config["arguments"])
    algorithm = train.build(options, load_dataset(options)).algorithm
    like = algorithm.init(jax.random.key(0))
    state = training.restore(f"{folder}/checkpoints", like, step=step)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.mark.slow
def test_a_run_that_may_end_earlier(whole, capsys):
    """Where less was done than is asked for now, though more was asked for at first."""
    run(f"{TRAIN.replace('40', '20')} --out short", capsys)
    shutil.rmtree("whole/checkpoints/40")
    lines = run("train --resume whole --steps 36", capsys)
    assert "whole: all steps are done" in lines
    assert json.loads(Path("whole/metrics.json").read_text())["steps"] == 36
    assert run("train --resume short --steps 36", capsys)[-4:] == lines[-4:]


@pytest.mark.parametrize(
    "schedule",
    [
        name if name == "cosine" else pytest.param(name, marks=pytest.mark.slow)
        for name in schedules.__all__
    ],
)
def test_a_schedule_that_depends_on_the_steps(schedule, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(f"{TRAIN} --schedule {schedule} --out whole", capsys)
    before = {path: path.read_bytes() for path in Path("whole").rglob("*") if path.is_file()}
    # the rates of the shorter and the longer run say whether one may become the other
    rates = [getattr(schedules, schedule)(1e-3, steps) for steps in (40, 80)]
    if all(float(rates[0](t)) == float(rates[1](t)) for t in range(40)):
        run("train --resume whole --steps 80", capsys)
        return
    (error,) = run("train --resume whole --steps 80", capsys, 2)
    assert "--schedule constant, to end after 80 steps in place of 40, got " + schedule in error
    assert {path: path.read_bytes() for path in before} == before
    assert "whole: all steps are done" in run("train --resume whole --steps 40", capsys)


def test_a_signal_in_the_last_chunk_changes_nothing(whole, monkeypatch, capsys):
    monkeypatch.setattr(training, "progress", interrupting([40], signal.SIGINT))
    assert run(TRAIN, capsys)[-4:] == whole


def test_interrupted_before_the_first_checkpoint(whole, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", interrupted)
        lines = run(TRAIN, capsys, 130)
    assert lines[-1] == "interrupted; begin again with: jaxml train --resume runs/train-1"
    assert os.listdir("runs/train-1") == ["config.json"]
    assert run("train --resume runs/train-1", capsys)[-4:] == whole
    same_records()


@pytest.mark.slow
def test_damage_is_refused_and_the_checkpoint_before_it_serves(whole, capsys):
    shutil.copytree("whole", "runs/train-1")
    path = next(Path("runs/train-1/checkpoints/40/state/ocdbt.process_0/d").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    (error,) = run("train --resume runs/train-1", capsys, 2)
    match = re.fullmatch(
        r"jaxml: error: expected a whole checkpoint, got runs/train-1/checkpoints/40, which is "
        r"damaged: state/\S+ is not what was written; 36 before it is whole: "
        r"jaxml (train --resume runs/train-1 --from 36)",
        error,
    )
    assert match, error
    assert run(match[1], capsys)[-4:] == whole
    same_records()


def test_a_damaged_log_is_refused(whole, capsys):
    log = Path("whole/metrics.jsonl")
    written = log.read_bytes()
    lines = written.splitlines(keepends=True)
    flipped = []
    for place in (0, len(written) // 3, len(written) - 3):
        flipped.append(bytearray(written))
        flipped[-1][place] ^= 0x80
    for damaged in (b"", written[:-1], b"".join(lines[:4] + lines[5:]), *flipped):
        log.write_bytes(damaged)
        (error,) = run("train --resume whole", capsys, 2)
        assert "whole/metrics.jsonl as it was written up to step 40, got a damaged" in error
        assert log.read_bytes() == damaged
    # what was written after the checkpoint that the run goes on from does not count
    assert run("train --resume whole --from 36", capsys)[-4:] == whole
    assert log.read_bytes() == written
    log.unlink()
    lines = run("train --resume whole", capsys)
    assert "whole/metrics.jsonl is missing: a new one begins here" in lines
    assert lines[-4:] == whole


@pytest.mark.slow
def test_another_models_checkpoint_is_refused(whole, capsys):
    run(f"{TRAIN} --hidden 9 --out other", capsys)
    shutil.rmtree("whole/checkpoints")
    shutil.copytree("other/checkpoints", "whole/checkpoints")
    (error,) = run("train --resume whole", capsys, 2)
    assert "params/dense_0/bias is float32 of shape (8,), got float32 of shape (9,) in" in error
    assert "whole/checkpoints/40" in error


@pytest.mark.slow
def test_other_data_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    np.savez("own.npz", x=x, y=np.arange(40) % 2)
    lines = run("train linear --data own.npz --steps 4", capsys)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("train --resume ../runs/train-1", capsys)[-4:] == lines[-4:]
    x[0, 0] = np.nextafter(x[0, 0], 2)
    np.savez("../own.npz", x=x, y=np.arange(40) % 2)
    (error,) = run("train --resume ../runs/train-1", capsys, 2)
    assert "the data that ../runs/train-1 was begun with, got other data" in error


def test_another_version_is_named_in_one_line(whole, capsys):
    config = json.loads(Path("whole/config.json").read_text())
    config["versions"]["jax"] = "0.1.2"
    Path("whole/config.json").write_text(json.dumps(config))
    lines = run("train --resume whole", capsys)
    assert lines[0].startswith("not as this run was begun, the last digits may differ: jax 0.1.2 t")
    assert lines[-4:] == whole


def test_what_is_refused(whole, capsys):
    before = {path: path.stat().st_mtime_ns for path in Path("whole").rglob("*")}
    Path("empty").mkdir()
    Path("odd").mkdir()
    Path("odd/config.json").write_text('{"command": "train", "arg')
    for command, message in {
        "train --resume whole --steps 80 --seed 1": "but --epochs or --steps: .*got --seed",
        "train --resume whole --steps 8 --epochs 1": "--steps or --epochs, got both",
        "train --resume whole --steps 39": "an end at or after step 40, which is done, got st",
        "train --resume whole --epochs 4": "an end at or after step 40, .* got step 36",
        "train --resume whole --steps 0": "--steps. expected a whole number of at least 1",
        "train --resume whole --steps 36 --from 39": r"a step among .* got 39",
        "landscape --resume whole --steps 80": "nothing beside --resume DIR: a run.*got --steps",
        "train mlp --resume whole --seed 0": "nothing beside --resume DIR.*got --seed, MODEL",
        "train --resume empty": "the folder of a run, with its config.json, got empty",
        "train --resume odd": r"odd/config.json as it was written, got a damaged one",
        "landscape --resume whole": "a run of jaxml landscape, got whole, one of jaxml train",
        "train --from 4": "--from beside --resume only",
        "train --resume whole --from 4": r"a step among \[.*40\], got 4",
        f"{TRAIN} --out whole": "a new or empty folder",
        f"{TRAIN} --checkpoint-every 0": "--checkpoint-every. expected a whole number",
    }.items():
        (error,) = run(command, capsys, 2)
        assert re.search(message, error), error
    descriptor = os.open("whole", os.O_RDONLY)  # as another process that is at work there
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    (error,) = run("train --resume whole", capsys, 2)
    assert "a run that is not under way, got whole" in error
    os.close(descriptor)
    assert before == {path: path.stat().st_mtime_ns for path in Path("whole").rglob("*")}
    assert not Path("runs").exists()


def replay(walked):
    """What takes the place of `walk`: that walk again, from the level that is done."""

    def walk(rows, widths, *, on_level, done, **options):
        for count in range(1 if done is None else len(done.levels) + 1, len(walked.levels) + 1):
            cut = walked.slice if count == len(walked.levels) else None
            done = dataclasses.replace(walked, levels=walked.levels[:count], slice=cut)
            if on_level(done):
                break
        return done

    return walk


@pytest.mark.slow
def test_a_staircase_goes_on_after_the_last_width(walked, iris, tmp_path, monkeypatch, capsys):
    """The command; that a walk itself goes on is in test_staircase, and in test_kill for real."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(staircase, "walk", replay(walked))
    np.savez("iris.npz", **iris)
    command = "landscape --data iris.npz --hidden 1:2 --seeds 3 --steps 300 --searches 4"
    view_row = staircase_view.row

    def row(level):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        return view_row(level)

    with monkeypatch.context() as patch:
        patch.setattr(staircase_view, "row", row)
        lines = run(command, capsys, 143)
    assert lines[-1] == (
        "stopped by SIGTERM after width 1 of 2; go on with: jaxml landscape --resume "
        "runs/landscape-1"
    )
    assert sorted(os.listdir("runs/landscape-1")) == ["checkpoints", "config.json"]
    whole = run("landscape --resume runs/landscape-1", capsys)
    other = [line.replace("landscape-2", "landscape-1") for line in run(command, capsys)]
    assert other == whole
    assert re.fullmatch("sha256 [0-9a-f]{64}", whole[-1])
    assert whole[2] in lines  # the row of the first width
    points = Path("runs/landscape-1/critical_points.json").read_text()
    # damage is named, and the width before it serves
    saved = Path("runs/landscape-1/checkpoints/2/staircase.npz")
    content = bytearray(saved.read_bytes())
    content[200] ^= 1
    saved.write_bytes(content)
    (error,) = run("landscape --resume runs/landscape-1", capsys, 2)
    assert "checkpoints/2, which is damaged: staircase.npz is not what was written" in error
    assert error.endswith(
        "1 before it is whole: jaxml landscape --resume runs/landscape-1 --from 1"
    )
    assert run("landscape --resume runs/landscape-1 --from 1", capsys) == whole
    assert Path("runs/landscape-1/critical_points.json").read_text() == points


@pytest.mark.slow
def test_an_exploration_begins_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("def f(): return lambda w: (1 - w[0] * w[1]) ** 2, [0.1, -0.2]\n")
    lines = run("landscape own.py:f --searches 2 --seed 3", capsys)
    assert re.fullmatch("sha256 [0-9a-f]{64}", lines[-1])
    monkeypatch.chdir(tmp_path / "runs")
    again = run("landscape --resume landscape-1", capsys)
    assert again[-1] == lines[-1]
    (error,) = run("landscape --resume landscape-1 --from 1", capsys, 2)
    assert "--from for a staircase" in error
    # SIGTERM unwinds, as Ctrl-C does
    monkeypatch.setattr(landscape, "explore", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit, match="143"):
        main(["landscape", "../own.py:f", "--out", "here"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "interrupted; begin again with: jaxml landscape --resume here"


def strictly(folder):
    """Every JSON file of a run, by a parser that takes no NaN or infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} in {folder}")

    paths = [path for path in Path(folder).rglob("*.json*") if path.is_file()]
    for path in paths:
        text = path.read_text()
        for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
            json.loads(part, parse_constant=refuse)
    return {path.name for path in paths}


@pytest.mark.slow
def test_a_divergence_after_the_last_update_is_an_error(tmp_path, monkeypatch, capsys):
    """What is not finite at the end is no success, whenever it became so."""
    monkeypatch.chdir(tmp_path)
    train = (
        "train linear --data linear_teacher --optimizer sgd --learning-rate 1e4 --batch-size 150"
    )
    (error,) = run(f"{train} --steps 40 --checkpoint-every 1 --out long", capsys, 2)
    bad = int(re.search(r"became \S+ after step (\d+)", error)[1])
    assert os.listdir("long/checkpoints")[-1:] != [str(bad)]
    assert strictly("long") >= {"config.json", "metrics.jsonl", "checkpoint.json"}
    (error,) = run(f"{train} --steps {bad} --out exact", capsys, 2)
    assert f"after step {bad}" in error
    assert not Path("exact/metrics.json").exists()
    # the state before is one to go on from, and to succeed with
    lines = run(f"{train} --steps {bad - 1} --out short", capsys)
    assert strictly("short") >= {"config.json", "metrics.json", "metrics.jsonl"}
    assert lines[-1].startswith("sha256")


def test_an_evaluation_that_is_not_finite_is_null(tmp_path):
    watched = training.evaluation(lambda state: {"loss": float("nan"), "other": [np.inf, 1]})
    log = training.metrics_log(tmp_path / "metrics.jsonl", validation=watched)
    saved = training.checkpoint(tmp_path / "checkpoints", watched=watched)
    chunk = training.Chunk(1, 1, {"step": np.int32(1)}, {"loss": np.array([np.inf, 1.0])})
    with log:
        for hook in (watched, log, saved):
            hook(chunk)
    assert strictly(tmp_path) >= {"metrics.jsonl", "checkpoint.json"}
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["train"] == {"loss": None}
    assert line["validation"] == {"loss": None, "other": [None, 1]}
    with pytest.raises(ValueError, match="written with watched"):
        training.restore(tmp_path / "checkpoints", chunk.state, step="best")


STOPPING = "train mlp --data digits --hidden 64 --steps 3000 --checkpoint-every 50 --batch-size 16"


@pytest.mark.slow
def test_a_run_ends_at_its_best_checkpoint(tmp_path, monkeypatch, capsys):
    """Also where it is interrupted while it waits; and it is that of the early end alone."""
    monkeypatch.chdir(tmp_path)
    train = f"{STOPPING} --learning-rate 0.03 --patience 3"
    lines = run(f"{train} --out stopped", capsys)
    log = [json.loads(line) for line in Path("stopped/metrics.jsonl").read_text().splitlines()]
    losses = [line["validation"]["loss"] for line in log]
    best = int(np.argmin(losses))
    assert len(losses) == best + 4 < 60
    assert f"no better for 3 checkpoints: the best is step {50 * (best + 1)}" in lines
    assert max(map(int, os.listdir("stopped/checkpoints"))) == 50 * (best + 1)
    metrics = json.loads(Path("stopped/metrics.json").read_text())
    assert metrics["metrics"]["validation"]["loss"] == pytest.approx(losses[best], rel=1e-6)
    assert metrics["steps"] == 50 * (best + 1) == load("stopped").meta["step"]
    again = run("train --resume stopped", capsys)  # the log's last lines are dropped and come again
    assert again[-4:] == lines[-4:]
    with monkeypatch.context() as patched:
        patched.setattr(training, "progress", interrupting([50 * (best + 3)], signal.SIGINT))
        run(f"{train} --out interrupted", capsys, 130)
    assert run("train --resume interrupted", capsys)[-4:] == lines[-4:]


@pytest.mark.slow
def test_what_a_trainer_is_expected_to_do(tmp_path, monkeypatch, capsys):
    """Clipped, in parts, averaged, in bfloat16: as the same in Python, and as it is loaded."""
    monkeypatch.chdir(tmp_path)
    options = "--clip 0.5 --accumulate 4 --average 0.9 --compute-dtype bfloat16 --optimizer sgd"
    run(f"{TRAIN} {options} --learning-rate 0.5 --out run", capsys)
    model = nn.mlp([2, 8, 2], dtype="bfloat16")
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.5))
    loss = training.losses.softmax_cross_entropy
    plain = training.supervised(model, loss, optimizer, accumulate=4)
    algorithm = training.averaging.moving_average(plain, 0.9)
    spirals = data.load("two_spirals")
    sample, key = training.sampling.epochs(64), jax.random.key(0)
    state = training.fit(algorithm, spirals.train, sample, key=key, steps=40, chunk=4).state
    saved = np.load("run/params.npz")
    np.testing.assert_array_equal(saved["dense_0/kernel"], state.params["dense_0"]["kernel"])
    trained = load("run")
    np.testing.assert_array_equal(trained.params["dense_0"]["kernel"], saved["dense_0/kernel"])
    assert trained.outputs(spirals.test["x"]).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--patience 2 --data xor", "a data set with a validation split for --patience, got xor"),
        ("--accumulate 3", "a multiple of --accumulate 3, got 64"),
        ("--average 1", "a number of at least 0 and below 1, got 1"),
        ("--clip 0", "a finite number above 0, got 0"),
        ("--compute-dtype int8", 'Invalid value "int8" for --compute-dtype'),
    ],
)
def test_what_a_trainer_refuses(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main([*TRAIN.split(), *options.split()])
    except SystemExit as refused:
        code = refused.code
    assert code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_learning_rate_is_found(tmp_path, monkeypatch, capsys):
    """As in Python; a page, and no run."""
    monkeypatch.chdir(tmp_path)
    lines = run(f"{TRAIN} --optimizer sgd --find-rate rate.html", capsys)
    spirals, model = data.load("two_spirals"), nn.mlp([2, 8, 2])
    found = training.find_learning_rate(
        lambda rate: training.supervised(
            model, training.losses.softmax_cross_entropy, optax.sgd(rate)
        ),
        spirals.train,
        training.sampling.epochs(64),
        key=jax.random.key(0),
    )
    assert lines[-2:] == [finding(found).verdict, "rate.html"]
    assert f"{found.steepest:.2g}" in lines[-2]
    assert found.lowest < 10
    assert lines[-2] in Path("rate.html").read_text()
    assert os.listdir() == ["rate.html"]
