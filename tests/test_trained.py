"""`jaxml.load`: what was trained can be used, from the run's folder alone."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest

import jaxml
from jaxml import data, nn, training
from jaxml.cli import main
from jaxml.core import checksummed_dirs
from jaxml.trained import Trained

DIGITS = "train mlp --data digits --hidden 12 --norm batch --dropout 0.2 --steps 60"


def run(command, code=0):
    assert main(command.split()) == code


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on digits with batch norm, with all its checkpoints."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(f"{DIGITS} --learning-rate 1e-2 --checkpoint-every 20 --out {folder}")
    return folder


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_the_accuracy_is_the_one_that_training_printed(made, digits):
    trained = jaxml.load(made)
    told = json.loads((made / "metrics.json").read_text())["metrics"]
    for part in ("train", "validation", "test"):
        split = getattr(digits, part)
        labels = trained.predict(split["x"])
        assert labels.dtype == np.int32
        assert (labels == split["y"]).mean() == pytest.approx(told[part]["accuracy"], abs=1e-6)
        probabilities = trained.probabilities(split["x"])
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
        loss = -np.log(probabilities[np.arange(len(labels)), split["y"]]).mean()
        assert loss == pytest.approx(told[part]["loss"], rel=1e-4)


def test_the_files_for_numpy_are_the_whole_network(made, digits):
    """The outputs by hand; the parameters alone, with fresh statistics, come to another end."""
    p, s = arrays(made / "params.npz"), arrays(made / "model_state.npz")
    assert list(s) == ["batch_stats/norm_0/mean", "batch_stats/norm_0/var"]
    digest = hashlib.sha256(b"".join(value.tobytes() for value in s.values())).hexdigest()
    told = json.loads((made / "metrics.json").read_text())
    assert told["model_state_sha256"] == digest
    x = digits.test["x"].astype(float)

    def outputs(mean, var):
        h = x @ p["dense_0/kernel"] + p["dense_0/bias"]
        h = (h - mean) / np.sqrt(var + 1e-5) * p["norm_0/scale"] + p["norm_0/bias"]
        return np.maximum(h, 0) @ p["dense_1/kernel"] + p["dense_1/bias"]

    got = jaxml.load(made).outputs(digits.test["x"])
    by_hand = outputs(s["batch_stats/norm_0/mean"], s["batch_stats/norm_0/var"])
    np.testing.assert_allclose(got, by_hand, atol=1e-4)
    assert np.abs(got - outputs(0.0, 1.0)).max() > 0.1


def test_a_checkpoint_is_chosen(made, digits):
    latest = jaxml.load(made)
    assert (latest.meta["step"], latest.meta["steps"]) == (60, 60)
    saved = arrays(made / "params.npz")
    kernel = latest.params["dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel, saved["dense_0/kernel"])
    earlier = jaxml.load(str(made), step=20)
    assert earlier.meta["step"] == 20
    log = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
    accuracy = (earlier.predict(digits.validation["x"]) == digits.validation["y"]).mean()
    assert accuracy == pytest.approx(log[0]["validation"]["accuracy"], abs=1e-6)
    losses = [line["validation"]["loss"] for line in log]
    assert jaxml.load(made, step="best").meta["step"] == log[int(np.argmin(losses))]["step"]
    with pytest.raises(ValueError, match=r"a step among \[20, 40, 60\], got 30"):
        jaxml.load(made, step=30)


def test_what_the_network_expects_is_said(made):
    trained = jaxml.load(made)
    meta = trained.meta
    assert (meta["name"], meta["task"], meta["classes"]) == ("digits", "classification", 10)
    assert meta["input"] == {"shape": (64,), "range": (0.0, 1.0)}
    assert meta["network"]["widths"] == [64, 12, 10]
    assert "array" not in repr(trained)


def test_batches_change_nothing(made, digits):
    trained, x = jaxml.load(made), digits.test["x"]
    whole = trained.outputs(x)
    assert whole.shape == (360, 10)
    for size in (1, 7, 359, 360, 361):
        found = trained.outputs(x[: 30 if size == 1 else None], batch_size=size)
        np.testing.assert_allclose(found, whole[: len(found)], atol=1e-5)
    np.testing.assert_allclose(trained.outputs(jax.numpy.asarray(x[:3])), whole[:3], atol=1e-5)


@pytest.mark.parametrize(
    "network",
    ["cnn --channels 2 --hidden 4", pytest.param("resnet --channels 2", marks=pytest.mark.slow)],
)
def test_images_in_any_of_their_shapes(network, tmp_path, digits):
    run(f"train {network} --data digits --steps 2 --batch-size 8 --out {tmp_path}/run")
    trained, x = jaxml.load(tmp_path / "run"), digits.test["x"][:9]
    shapes = [(9, 64), (9, 8, 8), (9, 8, 8, 1)]
    outputs = [trained.outputs(x.reshape(shape)) for shape in shapes]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    with pytest.raises(ValueError, match=r"x of shape \(N, 8, 8, 1\) or \(N, 64\) or \(N, 8, 8\)"):
        trained.predict(x.reshape(9, 4, 16))


@pytest.mark.parametrize(
    "shape", [(), *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((1,), (2,)))]
)
def test_a_regression_is_in_the_targets_own_shape_and_units(shape, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = 100 + (x @ rng.normal(size=(3, int(np.prod(shape))))).reshape(50, *shape)
    np.savez(tmp_path / "own.npz", x=x, y=y)
    command = f"train linear --data {tmp_path}/own.npz --steps 300 --optimizer sgd"
    run(f"{command} --learning-rate 0.1 --batch-size 30 --out {tmp_path}/run")
    trained = jaxml.load(tmp_path / "run")
    got = trained.predict(x)
    assert got.shape == y.shape
    np.testing.assert_allclose(got, y, atol=1e-2)
    with pytest.raises(ValueError, match="a classification, for probabilities, got a regression"):
        trained.probabilities(x)
    assert not (tmp_path / "run/model_state.npz").exists()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 63)), r"x of shape \(N, 64\) or \(N, 8, 8\), got shape \(2, 63\)"),
        (np.zeros(64), r"got shape \(64,\)"),
        (0.5, r"got shape \(\)"),
        (np.zeros((0, 64)), "at least one input"),
        (np.full((2, 64), "1"), "real numbers in x, got dtype <U1"),
        (np.zeros((2, 64), complex), "real numbers in x, got dtype complex128"),
        (np.eye(64) * np.nan, r"finite in float32, got 4096 that are not, the first at \(0, 0\)"),
        (np.where(np.eye(64), 1e39, 0), r"finite in float32, got 64 that are not"),
    ],
)
def test_inputs_that_are_refused(x, message, made):
    with pytest.raises(ValueError, match=message):
        jaxml.load(made).predict(x)
    with pytest.raises(ValueError, match="batch_size"):
        jaxml.load(made).predict(np.zeros((2, 64)), batch_size=0)


def test_inputs_of_another_scale_are_warned_of(made, digits):
    trained = jaxml.load(made)
    with pytest.warns(UserWarning, match="x from 0 to 255, where the network was trained on 0 to"):
        trained.predict(digits.test["x"] * 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.predict(digits.test["x"] * 5)


def test_folders_that_are_refused(copied, tmp_path):
    for folder, message in {
        tmp_path / "nothing": "the folder of a run, with its config.json, got .*nothing",
        copied / "config.json": "the folder of a run",
        copied / "checkpoints": "the folder of a run",
    }.items():
        with pytest.raises(ValueError, match=message):
            jaxml.load(folder)
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(ValueError, match=r"a run with a checkpoint, got .* ended before its first"):
        jaxml.load(copied)
    config = json.loads((copied / "config.json").read_text())
    for changed, message in {
        '{"comm': "config.json as it was written, got a damaged one",
        json.dumps(config | {"command": "study"}): "a run of jaxml train, got .* jaxml study",
        json.dumps(config | {"data": None}): "config.json as it was written, got a damaged one",
        json.dumps(config | {"input": {"shape": 3}}): "config.json as it was written, got a dam",
        json.dumps(config | {"network": {"name": "gan"}}): "name to be one of .*got 'gan'",
    }.items():
        (copied / "config.json").write_text(changed)
        with pytest.raises(ValueError, match=message):
            jaxml.load(copied)


@pytest.mark.slow
def test_a_run_of_an_earlier_version(copied, monkeypatch):
    """It is refused, and how to come by the description is said."""
    path = copied / "config.json"
    config = json.loads(path.read_text())
    new = ("network", "input", "target", "steps")
    path.write_text(json.dumps({k: v for k, v in config.items() if k not in new}))
    with pytest.raises(ValueError, match=r"describes its network .* an earlier version") as error:
        jaxml.load(copied)
    (command,) = re.findall(r"\(jaxml (.*) adds it\)", str(error.value))
    (copied / "model_state.npz").unlink()
    run(command)
    assert json.loads(path.read_text()) == config
    assert (copied / "model_state.npz").is_file()
    assert jaxml.load(copied).meta["step"] == 60


def test_a_network_other_than_the_checkpoints(copied):
    path = copied / "config.json"
    path.write_text(path.read_text().replace('"norm": "batch"', '"norm": "layer"'))
    with pytest.raises(ValueError, match="model_state/batch_stats/norm_0/mean is nothing, got fl"):
        jaxml.load(copied)


def test_damage_is_refused(copied):
    """A bit flipped in any file of the checkpoint, also one that holds the optimiser alone."""
    folder = copied / "checkpoints" / "60"
    for path in checksummed_dirs._files(folder):
        written = (folder / path).read_bytes()
        if written:
            flipped = bytearray(written)
            flipped[len(flipped) // 2] ^= 1
            (folder / path).write_bytes(flipped)
            with pytest.raises(training.DamagedError, match="40 before it is whole"):
                jaxml.load(copied)
            assert jaxml.load(copied, step=40).meta["step"] == 40
        (folder / path).write_bytes(written)
    assert jaxml.load(copied).meta["step"] == 60


def test_an_interrupted_run_is_loaded_where_it_is(copied):
    for step in (40, 60):
        shutil.rmtree(copied / "checkpoints" / str(step))
    for name in ("metrics.json", "params.npz", "model_state.npz"):
        (copied / name).unlink()
    assert jaxml.load(Path(copied)).meta["step"] == 20


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.mlp([6, 8, 3], norm="batch", dropout=0.5), (6,)),
        (nn.cnn((8, 8, 1), 3, channels=[4], hidden=[5]), (8, 8, 1)),
        pytest.param(nn.resnet((8, 8, 1), 3, channels=[4, 8]), (8, 8, 1), marks=pytest.mark.slow),
    ],
)
def test_an_exported_network_gives_the_same_outputs_without_jaxml(model, shape, tmp_path):
    """In a process that has no jaxml, of two numbers of inputs."""
    params, state = model.init(jax.random.key(0))
    trained = Trained(model, params, state, {"input": {"shape": shape, "range": (-9, 9)}})
    trained.export(tmp_path / "network")
    x = np.random.default_rng(0).normal(size=(7, *shape)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, jax.export; x = np.load('x.npy'); "
        "program = jax.export.deserialize(open('network', 'rb').read()); "
        "np.save('y.npy', program.call(x)); np.save('one.npy', program.call(x[:1])); "
        "assert 'jaxml' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=100)
    expected = trained.outputs(x)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "one.npy"), expected[:1], rtol=1e-5, atol=1e-6)


def test_what_no_network_is_exported_for(tmp_path):
    model = nn.linear(2, 1)
    meta = {"input": {"shape": (2,), "range": (0, 1)}}
    trained = Trained(model, *model.init(jax.random.key(0)), meta)
    trained.export(tmp_path / "both", platforms=["cpu", "tpu"])
    program = jax.export.deserialize((tmp_path / "both").read_bytes())
    assert program.platforms == ("cpu", "tpu")
    with pytest.raises(ValueError, match=r"platforms to be one of cpu, .* got 'abacus'"):
        trained.export(tmp_path / "none", platforms=["abacus"])
    assert not (tmp_path / "none").exists()
