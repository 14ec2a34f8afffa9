"""States on disk: what comes back is what went there, to the bit."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import nn
from jaxml.training import (
    Chunk,
    DamagedError,
    checkpoint,
    checkpointing,
    evaluation,
    fit,
    fit_many,
    losses,
    metrics_log,
    optimizers,
    restore,
    restore_fields,
    sampling,
    supervised,
)

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
DATA = {"x": RNG.normal(size=(11, 3)).astype(np.float32), "y": RNG.integers(0, 3, 11)}
SAMPLE = sampling.epochs(4)


@functools.cache
def algorithm(width=4, optimizer=optimizers.adam):
    model = nn.mlp([3, width, 3], norm="batch")
    return supervised(model, losses.softmax_cross_entropy, optimizer(0.05))


def train(steps, hooks=(), state=None):
    return fit(algorithm(), DATA, SAMPLE, key=KEY, steps=steps, chunk=3, hooks=hooks, state=state)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with the states after steps 6, 9 and 12, of 12."""
    directory = tmp_path_factory.mktemp("run") / "made" / "here"
    return directory, train(12, [checkpoint(directory, keep=3)])


def like(**options):
    return algorithm(**options).init(jax.random.key(1))


def assert_same(a, b):
    """To the bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_the_latest_comes_back_to_the_bit(saved):
    directory, run = saved
    state = restore(directory, like())
    assert_same(state, run.state)
    assert_same(restore(str(directory), like(), step=12), run.state)


def test_some_fields_come_back_without_the_optimiser(saved):
    directory, run = saved
    params, model_state = jax.eval_shape(nn.mlp([3, 4, 3], norm="batch").init, KEY)
    wanted = {"params": params, "model_state": model_state}
    found = restore_fields(directory, wanted)
    assert_same(found, {name: getattr(run.state, name) for name in wanted})
    found = restore_fields(directory, {"step": jnp.int32(0)}, step=9)
    assert_same(found, {"step": jnp.int32(9)})
    for message, other in {
        "params/dense_0/bias is nothing, got float32 of shape": {"params": {}},
        "steps is int32 .*, got nothing in": {"steps": jnp.int32(0)},
        "step is float32 of shape .*, got int32": {"step": jnp.float32(0)},
        r"norm_0/mean is float32 of shape .5,.*, got float32 of shape .4,": {
            "model_state": nn.mlp([3, 5, 3], norm="batch").init(KEY)[1]
        },
    }.items():
        with pytest.raises(ValueError, match=message):
            restore_fields(directory, other)


def test_only_the_latest_are_kept(saved):
    directory, _ = saved
    assert sorted(int(path.name) for path in directory.iterdir()) == [6, 9, 12]


def test_one_may_be_kept(tmp_path):
    train(6, [checkpoint(tmp_path, keep=1)])
    assert [path.name for path in tmp_path.iterdir()] == ["6"]


def test_a_run_resumed_from_disk_is_an_uninterrupted_one(saved):
    directory, run = saved
    resumed = train(6, state=restore(directory, like(), step=6))
    assert resumed.config["first_step"] == 6
    assert_same(resumed.state, run.state)
    np.testing.assert_array_equal(resumed.history["loss"], run.history["loss"][6:])


def test_a_resumed_run_goes_on_saving(tmp_path):
    train(6, [checkpoint(tmp_path, keep=2)])
    run = train(6, [checkpoint(tmp_path, keep=2)], restore(tmp_path, like()))
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [9, 12]
    assert_same(restore(tmp_path, like()), run.state)


@pytest.mark.slow
def test_lanes_come_back(tmp_path):
    keys = jax.random.split(KEY, 2)
    run = fit_many(
        algorithm(), DATA, SAMPLE, keys=keys, steps=3, chunk=3, hooks=[checkpoint(tmp_path)]
    )
    assert_same(restore(tmp_path, jax.vmap(algorithm().init)(keys)), run.state)


def test_another_runs_directory_is_refused(saved):
    directory, run = saved
    with pytest.raises(ValueError, match=r"without checkpoints from step 3 on, got .* step 12"):
        train(3, [checkpoint(directory)])
    assert_same(restore(directory, like()), run.state)


def test_no_directory(tmp_path):
    with pytest.raises(ValueError, match=r"a directory of checkpoints, got .*nowhere"):
        restore(tmp_path / "nowhere", like())
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_directory(tmp_path):
    with pytest.raises(ValueError, match=r"a directory of checkpoints, got .* without any"):
        restore(tmp_path, like())


def test_a_step_that_is_not_there(saved):
    with pytest.raises(ValueError, match=r"a step among \[6, 9, 12\], got 3"):
        restore(saved[0], like(), step=3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"width": 5},
            r"params/dense_0/bias is float32 of shape \(5,\), got float32 of shape \(4,\) in",
        ),
        ({"optimizer": optimizers.sgd}, r"opt_state/.* is nothing, got \w+ of shape \(.* in"),
        ({"optimizer": optimizers.momentum}, r"opt_state/0/trace/dense_0/bias is .*, got nothing"),
    ],
)
def test_another_algorithms_state(saved, options, match):
    with pytest.raises(ValueError, match=match):
        restore(saved[0], like(**options))


def test_the_same_shapes_in_other_places(saved):
    state = like()
    swapped = {**state.params, "dense_0": state.params["dense_1"]}
    swapped["dense_1"] = state.params["dense_0"]
    with pytest.raises(
        ValueError, match=r"params/dense_0/bias is float32 of shape \(3,\), got .*4"
    ):
        restore(saved[0], state.replace(params=swapped))
    renamed = {f"other_{name}": layer for name, layer in state.params.items()}
    with pytest.raises(ValueError, match=r"params/other_dense_0/bias is .*, got nothing"):
        restore(saved[0], state.replace(params=renamed))


@pytest.mark.parametrize("keep", [0, -1, 1.5, True, "all"])
def test_keep_is_a_positive_number(tmp_path, keep):
    with pytest.raises(ValueError, match="keep to be a whole number of at least 1"):
        checkpoint(tmp_path / "new", keep=keep)
    assert not (tmp_path / "new").exists()


def test_a_failing_run_leaves_its_checkpoints(tmp_path):
    def fail(chunk):
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        train(6, [checkpoint(tmp_path), fail])
    assert int(restore(tmp_path, like()).step) == jnp.int32(3)


def steps_in(directory):
    return sorted(int(path.name) for path in directory.iterdir())


def evaluated(directory, values, **options):
    """Checkpoints of an evaluation with these values after steps 3, 6, …"""
    watched = evaluation(lambda state: {"loss": values[int(state.step) // 3 - 1]})
    return [watched, checkpoint(directory, keep=1, watched=watched, **options)]


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ([3.0, 1.0, 2.0, 4.0], "min", 6),
        ([3.0, 1.0, 2.0, 2.5], "max", 3),
        ([np.nan, 2.0, 2.0, np.nan], "min", 6),  # NaN is never best, and the first of equals is
        ([4.0, 3.0, 2.0, np.float32(1)], "min", 12),
    ],
)
def test_the_best_is_kept_besides(tmp_path, values, mode, best):
    run = train(6, evaluated(tmp_path, values, mode=mode))
    run = train(6, evaluated(tmp_path, values, mode=mode), state=run.state)  # as after a resumption
    assert steps_in(tmp_path) == sorted({best, 12})
    assert_same(restore(tmp_path, like()), run.state)
    assert int(restore(tmp_path, like(), step="best").step) == best


def test_the_best_of_checkpoints_of_earlier_versions(tmp_path):
    """Their score was called badness."""
    for step, name, score in [(3, "badness", 2.0), (6, "badness", 1.0), (9, "score", 1.5)]:
        (tmp_path / str(step)).mkdir()
        (tmp_path / str(step) / "checkpoint.json").write_text(json.dumps({name: score}))
    assert checkpointing._best(tmp_path) == 6


def test_the_best_of_checkpoints_that_watched_nothing(saved):
    with pytest.raises(ValueError, match="checkpoints written with watched=, got"):
        restore(saved[0], like(), step="best")


def test_what_is_watched_is_one_number(tmp_path):
    watched = evaluation(lambda state: {"loss": np.ones(2)})
    for metric, match in (("loss", r"loss to be one number, got shape \(2,\)"), ("f1", "'f1'")):
        with pytest.raises(ValueError, match=match):
            train(3, [watched, checkpoint(tmp_path, watched=watched, metric=metric)])
    with pytest.raises(ValueError, match="mode to be one of min, max"):
        checkpoint(tmp_path, watched=watched, mode="least")
    assert not steps_in(tmp_path)


def damaged(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_damage_in_any_file_is_refused_by_name(saved, tmp_path, how):
    """Orbax itself returns other numbers, and no error, for most bits flipped in its arrays."""
    original, run = saved
    files = [path.relative_to(original) for path in (original / "12").rglob("*") if path.is_file()]
    assert len(files) > 8
    for i, file in enumerate(files):
        directory = tmp_path / str(i)
        shutil.copytree(original, directory)
        damaged(directory / file, how)
        with pytest.raises(DamagedError, match=r"12, which is damaged: .*; 9 before it is whole"):
            restore(directory, like())
        assert int(restore(directory, like(), step=9).step) == 9
    assert_same(restore(original, like()), run.state)


def test_a_save_that_was_cut_short_is_ignored_and_cleared_away(tmp_path, monkeypatch):
    first = train(3, [checkpoint(tmp_path)])

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", killed)  # after orbax has written
        with pytest.raises(KeyboardInterrupt):
            train(3, [checkpoint(tmp_path)], state=first.state)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".6.partial", "3"]
    assert_same(restore(tmp_path, like()), first.state)
    train(3, [checkpoint(tmp_path)], state=first.state)
    assert steps_in(tmp_path) == [3, 6]


def test_of_several_processes_the_first_alone_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    checkpoint(tmp_path / "here")(Chunk(3, 3, {"step": 3}, {}))
    metrics_log(tmp_path / "metrics.jsonl")(Chunk(3, 3, {"step": 3}, {}))
    assert not list(tmp_path.iterdir())


def test_states_of_many_kinds(tmp_path):
    """Typed keys, numbers of Python, small floats, empty parts, lanes of optimiser states."""
    state = {
        "step": 3,
        "key": jax.random.key(5),
        "keys": jax.random.split(jax.random.key(6, impl="rbg"), 3),
        "half": jnp.arange(3, dtype=jnp.bfloat16),
        "flag": True,
        "nothing": (None, {}, optax.EmptyState()),
        "chain": optax.chain(optax.clip(1.0), optax.adamw(1e-3), optax.sgd(1.0)).init(jnp.ones(2)),
    }
    checkpoint(tmp_path)(Chunk(3, 3, state, {}))
    blank = jax.tree.map(lambda leaf: leaf, state) | {"step": 0, "key": jax.random.key(0)}
    back = restore(tmp_path, blank)
    assert_same(
        jax.tree.map(_bits, back), jax.tree.map(lambda leaf: _bits(jnp.asarray(leaf)), state)
    )
    assert back["keys"].dtype == state["keys"].dtype
    for name, other, match in (
        ("key", jax.random.key(0, impl="rbg"), r"key is key<rbg> of shape \(\), got key<fry>"),
        ("half", jnp.zeros(3), r"half is float32 of shape \(3,\), got bfloat16 of"),
        ("step", jnp.float32(0), r"step is float32 of shape \(\), got int32 of"),
    ):
        with pytest.raises(ValueError, match=match):
            restore(tmp_path, state | {name: other})


def _bits(leaf):
    typed = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if typed else leaf
