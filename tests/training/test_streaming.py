"""Batches from the host: the run of data in memory, to the bit, in less memory."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import streamed

from jaxml import landscape, nn, training
from jaxml.core.types import Algorithm
from jaxml.training import (
    augmentation,
    evaluating,
    fit,
    fit_many,
    losses,
    metrics,
    optimizers,
    sampling,
    streaming,
)

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
DATA = {"x": RNG.normal(size=(22, 3)).astype(np.float32), "y": RNG.integers(0, 3, 22)}
MODEL = nn.mlp([3, 4, 3], norm="batch", dropout=0.2)
ALGORITHM = training.supervised(MODEL, losses.softmax_cross_entropy, optimizers.adam(0.05))
SAMPLE = sampling.epochs(4)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, (a.state, a.history), (b.state, b.history))


@pytest.mark.slow
def test_rows_of_the_host_are_those_of_memory_to_the_bit(tmp_path):
    """Arrays, and a file; whatever the chunk; and where a run goes on."""
    np.save(tmp_path / "x.npy", DATA["x"])
    file = DATA | {"x": np.load(tmp_path / "x.npy", mmap_mode="r")}
    whole = fit(ALGORITHM, DATA, SAMPLE, key=KEY, steps=14, chunk=7)
    from_file = streaming.rows(file, SAMPLE)
    assert_same(fit(ALGORITHM, streaming.rows(DATA, SAMPLE), key=KEY, steps=14), whole)
    assert_same(fit(ALGORITHM, from_file, key=KEY, steps=14, chunk=3), whole)
    half = fit(ALGORITHM, from_file, key=KEY, steps=5)
    rest = fit(ALGORITHM, from_file, key=KEY, steps=9, state=half.state)
    jax.tree.map(np.testing.assert_array_equal, rest.state, whole.state)
    np.testing.assert_array_equal(rest.history["loss"], whole.history["loss"][5:])


@pytest.mark.parametrize(
    "view", [slice(None), slice(5, None), slice(3, 17), slice(0, 12, 2), np.s_[:, 1:]]
)
def test_views_of_a_file_are_read_where_they_are(view, tmp_path):
    """With a header that no page begins after, and with none."""
    x = RNG.normal(size=(22, 300))
    x.tofile(tmp_path / "raw")
    np.save(tmp_path / "x.npy", x)
    raw = np.memmap(tmp_path / "raw", x.dtype, "r", 600 * 8, (20, 300))
    for file, array in ((np.load(tmp_path / "x.npy", mmap_mode="r"), x), (raw, x[2:])):
        stream = streaming.rows((file[view], array[view]), SAMPLE)
        for batch in itertools.islice(stream.open(0, KEY), 4):
            np.testing.assert_array_equal(*batch)
            assert not isinstance(batch[0], np.memmap)


def test_what_is_not_in_the_file_is_read_from_memory(tmp_path):
    """A copy on write that was written to, and a file without a name."""
    np.save(tmp_path / "x.npy", DATA["x"])
    changed = np.load(tmp_path / "x.npy", mmap_mode="c")
    changed[::2] += 1
    with open(tmp_path / "x.npy", "rb") as named, os.fdopen(os.dup(named.fileno()), "rb") as file:
        nameless = np.memmap(file, DATA["x"].dtype, "r", 128, DATA["x"].shape)
        stream = streaming.rows((changed, nameless), sampling.epochs(4))
        memory = streaming.rows((np.array(changed), DATA["x"]), sampling.epochs(4))
        for opened in zip(stream.open(0, KEY), memory.open(0, KEY), range(3), strict=False):
            jax.tree.map(np.testing.assert_array_equal, *opened[:2])


def test_a_file_cut_short_is_an_error(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((22, 300)))
    file = np.load(tmp_path / "x.npy", mmap_mode="r")
    with open(tmp_path / "x.npy", "r+b") as cut:
        cut.truncate(2000)
    with pytest.raises(OSError, match=r"x\.npy ends before row"):
        fit(WITNESS, streaming.rows({"x": file}, SAMPLE), key=KEY, steps=9)


@pytest.mark.slow
def test_what_transforms_batches_is_given_to_fit():
    images = {"x": np.float32(RNG.normal(size=(12, 3, 3, 1))), "y": RNG.integers(0, 3, 12)}
    model = nn.mlp([9, 3])
    algorithm = training.supervised(
        model,
        losses.softmax_cross_entropy,
        optimizers.sgd(0.1),
        inputs=lambda batch: batch["x"].reshape(-1, 9),
    )
    transforms = augmentation.shift(1), augmentation.flip()
    at_once = augmentation.augmented(SAMPLE, *transforms)
    after = augmentation.augmented(sampling.full(), *transforms)
    streamed = fit(algorithm, streaming.rows(images, SAMPLE), after, key=KEY, steps=6)
    assert_same(streamed, fit(algorithm, images, at_once, key=KEY, steps=6))
    with pytest.raises(ValueError, match=r"a sampler that only picks rows, .* got another"):
        fit(algorithm, streaming.rows(images, at_once), key=KEY, steps=6)


@flax.struct.dataclass
class Seen:
    step: jax.Array
    total: jax.Array


# it reports the numbers that it sees
WITNESS = Algorithm(
    lambda key: Seen(jnp.int32(0), jnp.float32(0)),
    lambda state, batch, key: (
        Seen(state.step + 1, state.total + batch["x"][0, 0]),
        {"number": batch["x"][0, 0]},
    ),
)


def numbers(step, shape=(2, 3)):
    """Batches that tell their step."""
    for i in itertools.count(step):
        yield {"x": np.full(shape, i, np.float64)}


def test_a_stream_is_opened_where_a_run_goes_on():
    stream = streaming.batches(numbers)
    run = fit(WITNESS, stream, key=KEY, steps=5, chunk=2)
    assert run.history["number"].tolist() == [0, 1, 2, 3, 4]
    rest = fit(WITNESS, stream, key=KEY, steps=2, state=run.state)
    assert rest.history["number"].tolist() == [5, 6]
    assert float(rest.state.total) == sum(range(7))
    many = fit_many(WITNESS, stream, keys=jax.random.split(KEY, 3), steps=4, state=None)
    assert many.history["number"].tolist() == [[0, 1, 2, 3]] * 3


def test_a_pass_is_read_up_to_where_a_run_goes_on():
    """Passes of three, each in an order of its own."""

    def loader(number):
        order = np.random.default_rng(number).permutation(3)
        return [{"x": np.full((2, 3), 10 * number + i)} for i in order]

    stream = streaming.passes(loader)
    whole = fit(WITNESS, stream, key=KEY, steps=8).history["number"].tolist()
    assert [sorted(whole[i : i + 3]) for i in (0, 3)] == [[0, 1, 2], [10, 11, 12]]
    start = Seen(jnp.int32(4), jnp.float32(0))
    assert (
        fit(WITNESS, stream, key=KEY, steps=4, state=start).history["number"].tolist() == whole[4:]
    )


def test_batches_are_prepared_ahead_and_no_further():
    """Of a device that waits, the host has made the batch in use and three more."""
    made, gone = [], threading.active_count()

    def counting(step):
        for batch in numbers(step):
            made.append(threading.current_thread())
            yield batch

    def wait(chunk):
        time.sleep(0.2)
        return chunk.step == 2

    fit(WITNESS, streaming.batches(counting, prefetch=3), key=KEY, steps=9, chunk=1, hooks=[wait])
    assert len(made) == 2 + 3
    assert threading.main_thread() not in made
    assert threading.active_count() == gone  # the thread has ended with the run


def test_the_hosts_errors_are_its_own():
    def failing(step):
        yield from itertools.islice(numbers(step), 3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fit(WITNESS, streaming.batches(failing), key=KEY, steps=9)


def other_shapes(step):
    yield from itertools.islice(numbers(step), 3)
    yield from numbers(step, (1, 3))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (
            lambda: streaming.batches(other_shapes),
            r"alike, x of \(\(2, 3\), dtype\('float64'\)\) as at step 0, .*\(1, 3\).* at step 3",
        ),
        (
            lambda: streaming.batches(lambda step: itertools.islice(numbers(step), 4)),
            "a stream of 1 more batches, got one that ends after 0",
        ),
        (lambda: streaming.batches(lambda step: []), "a stream of batches, got none"),
        (lambda: streaming.passes(lambda number: []), "passes of at least one batch, got none"),
        (lambda: streaming.batches(numbers(0)), "a function of the step .* got generator"),
        (lambda: streaming.batches(numbers, prefetch=0), "prefetch to be a whole number of at le"),
        (
            lambda: streaming.passes(lambda number: [WITNESS], prefetch=0),
            "prefetch to be a whole number of at le",
        ),
        (
            lambda: streaming.rows({"x": np.ones((3, 1))}, SAMPLE, prefetch=0),
            "prefetch to be a whole number of at le",
        ),
        (lambda: streaming.rows({"x": np.ones(3), "y": np.ones(2)}, SAMPLE), "one leading axis"),
        (lambda: streaming.rows({"x": np.ones(3)}, 64), "a sampler such as .* got 64"),
        (
            lambda: streaming.rows({"x": np.ones((3, 3))}, SAMPLE),
            "batch_size of at most the 3 examples, got 4",
        ),
        (
            lambda: streaming.batches(lambda step: ({"x": np.full((2, 3), np.nan)} for _ in "ab")),
            r"finite values of float32 in data\['x'\], got 6",
        ),
    ],
)
def test_what_is_no_stream_is_refused(stream, message):
    with pytest.raises(ValueError, match=message):
        fit(WITNESS, stream(), key=KEY, steps=9, chunk=1)


def test_float64_is_kept_by_the_thread(x64):
    run = fit(WITNESS._replace(init=lambda key: Seen(jnp.int32(0), jnp.zeros(()))),
              streaming.batches(lambda step: ({"x": np.full((1, 1), 1 / 3)} for _ in range(9))),
              key=KEY, steps=2)  # fmt: skip
    assert run.history["number"].dtype == np.float64
    assert run.history["number"].tolist() == [1 / 3, 1 / 3]


SUMS = nn.linear(1, 1, bias=False)  # by whole numbers, so that nothing is rounded
SUMS_STATE = training.start(SUMS, optimizers.sgd(0.1), KEY).replace(
    params={"dense_0": {"kernel": jnp.ones((1, 1))}}
)
NUMBERS = {"x": np.arange(11.0)[:, None], "weights": np.float32([0, 0, 0, 0, 1, 2, 0, 1, 4, 0, 8])}
MEASURES = {
    "mean": lambda outputs, batch: outputs[:, 0],
    "largest": metrics.Corpus(lambda outputs, batch: outputs[:, 0], np.max),
}


def pieces(data, size):
    """Consecutive batches, the last one short."""
    ends = range(0, len(data["x"]), size)
    return [{name: leaf[i : i + size] for name, leaf in data.items()} for i in ends]


def evaluate(stream, model=SUMS, state=SUMS_STATE, measures=MEASURES, **options):
    return training.evaluate(model, state, stream, measures, **options)


@pytest.mark.parametrize("size", [4, 11, 100])
def test_a_stream_is_evaluated_by_its_examples(size, tmp_path):
    """Each once and by its weight, whichever batch it comes in: Σwx/Σw = 133/16, at most 10.

    Nothing counts in the first batch of four, and the last has three.
    """
    np.save(tmp_path / "x.npy", NUMBERS["x"])
    file = NUMBERS | {"x": np.load(tmp_path / "x.npy", mmap_mode="r")}
    expected = {"mean": 133 / 16, "largest": 10.0}
    assert evaluate(streaming.rows(file, SAMPLE), batch_size=size) == expected
    assert evaluate(streaming.passes(lambda number: pieces(NUMBERS, size))) == expected
    assert evaluate(NUMBERS, batch_size=size) == expected
    plain = {"x": NUMBERS["x"]}
    assert evaluate(streaming.rows(plain, SAMPLE), batch_size=size)["mean"] == 5


def test_targets_of_a_stream_count_by_their_mask():
    """3 of the 5 that the mask leaves are right; the second of the batches has none."""
    split = {
        "x": np.float32([[[1], [1]], [[-1], [1]], [[1], [1]], [[1], [1]], [[-1], [1]]]),
        "y": np.array([[1, 0], [0, 1], [0, 0], [0, 0], [1, 1]]),
        "mask": np.array([[1, 1], [1, 0], [0, 0], [0, 0], [1, 1]]),
    }
    measures = {"accuracy": metrics.binary_accuracy}
    judged = lambda state, batch: batch["x"][..., 0]  # noqa: E731
    stream = streaming.passes(lambda number: pieces(split, 2))
    found = evaluate(stream, judged, None, measures)
    assert found == evaluate(split, judged, None, measures) == {"accuracy": pytest.approx(0.6)}


def test_a_network_is_evaluated_from_a_stream_as_from_memory_by_one_program():
    state = ALGORITHM.init(KEY)
    measures = {"loss": losses.softmax_cross_entropy, "counts": metrics.confusion_matrix()}
    options = {"model": MODEL, "state": state, "measures": measures, "batch_size": 5}
    expected = evaluate(DATA, **options)
    before = evaluating._values_of_batch._cache_size()
    found = evaluate(streaming.rows(DATA, SAMPLE), **options)
    assert evaluating._values_of_batch._cache_size() - before <= 1
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    np.testing.assert_array_equal(found["counts"], expected["counts"])


def changed(number, **leaves):
    """Batches of two, of which one is other than the first."""
    batches = pieces(DATA, 2)
    batches[number] = batches[number] | leaves
    return streaming.passes(lambda _: batches)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (lambda: streaming.batches(numbers), "streaming.rows or streaming.passes, got one without"),
        (lambda: streaming.passes(lambda number: []), "a stream of batches, got none"),
        (lambda: changed(3, y=np.array([0, 3])), r"labels from 0 to 2 in .*'y'.*, got 3 at 1"),
        (
            lambda: changed(3, x=np.full((2, 3), np.inf)),
            r"finite values of .* in data\['x'\], got 6",
        ),
        (lambda: changed(3, x=np.ones((2, 4))), r"batches that are alike, .* at 3"),
        (lambda: changed(3, weights=np.ones(2)), r"batches that are alike, .*weights.* at 3"),
        (
            lambda: changed(3, x=np.ones((3, 3)), y=np.zeros(3, int)),
            "the first's 2 examples, got 3",
        ),
        (
            lambda: streaming.rows(DATA | {"weights": np.zeros(22)}, SAMPLE),
            "an example that counts, got weights or masks of zeros alone",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused(stream, message):
    with pytest.raises(ValueError, match=message):
        evaluate(stream(), MODEL, ALGORITHM.init(KEY), {"loss": losses.softmax_cross_entropy})


def test_what_needs_all_rows_takes_no_stream():
    stream, state = streaming.rows(DATA, SAMPLE), ALGORITHM.init(KEY)
    for call in (
        lambda: training.full_loss(ALGORITHM, state, stream),
        lambda: training.full_loss(ALGORITHM, state, stream, batch_size=4),
        lambda: landscape.data_loss(lambda params, batch: batch["x"], losses.mse, stream),
    ):
        with pytest.raises(ValueError, match=r"arrays in memory.*got Stream"):
            call()


@pytest.mark.oracle
@pytest.mark.parametrize("library", ["torch", "grain"])
def test_a_loader_feeds_a_run(library):
    """Least squares by hand on the batches that the loader makes, shuffled anew in every pass."""
    x, w = RNG.normal(size=(12, 2)).astype(np.float32), np.float32([2, -1])
    items = [{"x": row, "y": row @ w} for row in x]
    if library == "torch":
        torch = pytest.importorskip("torch")

        def loader(number):
            seed = torch.Generator().manual_seed(number)
            return torch.utils.data.DataLoader(items, 4, shuffle=True, generator=seed)
    else:
        grain = pytest.importorskip("grain")

        def loader(number):
            shuffled = grain.MapDataset.source(items).shuffle(seed=number)
            return shuffled.batch(4)

    model = nn.linear(2, 1, bias=False)
    algorithm = training.supervised(model, losses.mse, optimizers.sgd(0.1))
    run = fit(algorithm, streaming.passes(loader), key=KEY, steps=9)
    theta = np.asarray(algorithm.init(jax.random.split(KEY)[0]).params["dense_0"]["kernel"])[:, 0]
    given = [batch for number in range(3) for batch in loader(number)]
    for batch, loss in zip(given, run.history["loss"], strict=True):
        a, b = np.asarray(batch["x"]), np.asarray(batch["y"])
        assert loss == pytest.approx(((a @ theta - b) ** 2).mean(), rel=1e-4)
        theta = theta - 0.1 * 2 * a.T @ (a @ theta - b) / 4
    np.testing.assert_allclose(run.state.params["dense_0"]["kernel"][:, 0], theta, rtol=1e-4)


def start(folder, *arguments):
    command = [sys.executable, streamed.__file__, str(folder), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process):
    text, error = process.communicate(timeout=500)
    assert process.returncode == 0, error
    return json.loads(text.splitlines()[-1])


def write(folder, rows, columns=1024):
    file = np.lib.format.open_memmap(
        folder / "x.npy", mode="w+", dtype=np.float32, shape=(rows, columns)
    )
    for i in range(0, rows, 1000):
        file[i : i + 1000] = RNG.normal(size=(min(1000, rows - i), columns))
    file.flush()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc/self/clear_refs")
def test_a_file_of_ten_times_the_memory_ends_as_from_memory(tmp_path):
    """655 MB in less than 65 beyond what the process has before (4); one pass and a half."""
    write(tmp_path, 160_000)
    steps = 160_000 * 3 // 2 // streamed.BATCH
    file = result(start(tmp_path, "file", steps))
    memory = result(start(tmp_path, "memory", steps))
    assert file["file"] == 160_000 * 1024 * 4
    assert file["more"] < file["file"] / 10, file
    assert memory["peak"] > file["file"]  # as it must hold
    assert file["digest"] == memory["digest"]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_bit(tmp_path):
    write(tmp_path, 2000)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "x.npy").symlink_to(tmp_path / "x.npy")
    expected = result(start(whole, "file", 3000, "checkpoints"))
    process = start(killed, "file", 3000, "checkpoints")
    deadline = time.monotonic() + 100
    while not (killed / "run" / "150").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    done = max(int(path.name) for path in (killed / "run").iterdir() if path.name.isdigit())
    assert 150 <= done < 3000
    assert result(start(killed, "file", 3000, "resume"))["digest"] == expected["digest"]
