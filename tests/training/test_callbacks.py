"""What the host does between chunks, on an algorithm whose every state is known."""

import contextlib
import io
import json
import math
import os
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import rich
import rich.console

from jaxml import training
from jaxml.core.types import Algorithm, TrainState
from jaxml.training import (
    Chunk,
    callbacks,
    early_stopping,
    evaluation,
    fit,
    fit_many,
    metrics_log,
    progress,
    sampling,
    snapshots,
)

KEY = jax.random.key(0)


def _step(state, batch, key):
    params = jax.tree.map(lambda leaf: leaf + 1, state.params)
    return TrainState(state.step + 1, params, {}, {}), {"loss": 1.0 / (state.step + 1)}


COUNTER = Algorithm(
    lambda key: TrainState(jnp.int32(0), {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}, {}, {}),
    _step,
)


def count(hooks, steps=20, chunk=2, **options):
    return fit(
        COUNTER, None, sampling.full(), key=KEY, steps=steps, chunk=chunk, hooks=hooks, **options
    )


def follow(values, **options):
    """Early stopping over a sequence of evaluations, one after every 2 steps."""
    watched = evaluation(lambda state: {"loss": values[int(state.step) // 2 - 1]})
    stop = early_stopping(watched, **options)
    return count([watched, stop]), stop, watched


def test_hooks_see_each_chunk_in_order():
    seen = []
    run = count([seen.append, lambda chunk: seen.append(chunk.step)], steps=5)
    chunks = seen[::2]
    assert all(isinstance(chunk, Chunk) for chunk in chunks)
    assert [chunk.step for chunk in chunks] == seen[1::2] == [2, 4, 5]
    assert {chunk.last_step for chunk in chunks} == {5}
    assert [int(chunk.state.step) for chunk in chunks] == [2, 4, 5]
    joined = np.concatenate([chunk.metrics["loss"] for chunk in chunks])
    np.testing.assert_array_equal(joined, run.history["loss"])
    np.testing.assert_allclose(joined, 1 / np.arange(1, 6), rtol=1e-6)


def test_hooks_of_a_resumed_run_count_on():
    seen = []
    count([seen.append], steps=3, state=count([], steps=4).state)
    assert [(chunk.step, chunk.last_step) for chunk in seen] == [(6, 7), (7, 7)]


def test_a_true_answer_ends_the_run_after_all_hooks_have_seen_it():
    seen = []
    run = count([lambda chunk: chunk.step == 6, lambda chunk: seen.append(chunk.step)])
    assert run.state.step == 6
    assert len(run.history["loss"]) == 6
    assert seen == [2, 4, 6]


def test_evaluation_records_steps_and_values():
    watched = evaluation(lambda state: {"b": float(state.params["b"][0]), "two": 2})
    count([watched], steps=6)
    assert watched.history == {"step": [2, 4, 6], "b": [2.0, 4.0, 6.0], "two": [2, 2, 2]}


def test_early_stopping_bears_its_patience_and_keeps_the_best():
    run, stop, watched = follow([5, 3, 4, 3, 2, 6, 7, 2, 1, 0], patience=3)
    # 3 at step 4; 4 and 3 (no improvement); 2 at step 10; three more, and stop at 16
    assert run.state.step == 16
    assert watched.history["loss"] == [5, 3, 4, 3, 2, 6, 7, 2]
    assert (stop.best, stop.best_step) == (2, 10)
    assert int(stop.best_state.step) == 10
    np.testing.assert_array_equal(stop.best_state.params["b"], [10, 10, 10])


def test_early_stopping_where_large_is_good():
    run, stop, _ = follow([0.1, 0.5, 0.4, 0.3, 0.9], patience=2, mode="max")
    assert run.state.step == 8
    assert (stop.best, stop.best_step, int(stop.best_state.step)) == (0.5, 4, 4)


def test_early_stopping_lets_an_improving_run_end():
    run, stop, _ = follow([10 - i for i in range(10)], patience=1)
    assert run.state.step == stop.best_step == 20


def _sometimes(state, batch, key):
    """A return at every fourth step, and nothing else that is finite."""
    ended = (state.step + 1) % 4 == 0
    record = {"return": jnp.where(ended, state.step + 1.0, jnp.nan), "never": jnp.nan}
    return TrainState(state.step + 1, {}, {}, {}), record


def test_means_and_progress_are_of_the_steps_that_have_a_value(tmp_path, monkeypatch):
    """Of chunks of 6 steps: 4; 8 and 12; 16; the last of none."""
    algorithm = Algorithm(lambda key: TrainState(jnp.int32(0), {}, {}, {}), _sometimes)
    shown = []
    bar = progress(metric="return")
    monkeypatch.setattr(bar._bar, "update", lambda task, shown_="", **fields: shown.append(fields))
    hooks = [metrics_log(tmp_path / "log"), bar]
    fit(algorithm, key=KEY, steps=19, chunk=6, hooks=hooks)
    lines = [json.loads(line)["train"] for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["return"] for line in lines] == [4.0, 10.0, 16.0, None]
    assert {line["never"] for line in lines} == {None}
    assert [fields["shown"].split("  ")[0] for fields in shown] == [
        "return 4",
        "return 12",
        "return 16",
        "return nan",
    ]


def test_nan_is_no_improvement():
    run, stop, _ = follow([1.0, np.nan, np.nan, 0.0], patience=2)
    assert run.state.step == 6
    assert stop.best == 1.0


def test_before_the_first_evaluation_nothing_is_best():
    watched = evaluation(lambda state: {})
    for mode, best in (("min", np.inf), ("max", -np.inf)):
        stop = early_stopping(watched, mode=mode)
        assert (stop.best, stop.best_step, stop.best_state) == (best, 0, None)


@pytest.mark.parametrize("after", [False, True])
def test_early_stopping_names_a_metric_that_is_not_measured(after):
    watched = evaluation(lambda state: {"accuracy": 1.0})
    hooks = [watched, early_stopping(watched, "loss")]
    with pytest.raises(
        ValueError, match=r"a metric among \[('accuracy')?\], got '(loss|accuracy)'"
    ):
        # placed before its evaluation it finds none at all
        count([early_stopping(watched, "accuracy"), watched] if after else hooks)


def test_snapshots_stack_the_parameters():
    kept = snapshots()
    count([kept], steps=6)
    assert kept.steps == [2, 4, 6]
    assert jax.tree.map(np.shape, kept.params) == {"w": (3, 2, 3), "b": (3, 3)}
    np.testing.assert_array_equal(kept.params["w"][:, 0, 0], [2, 4, 6])


def test_snapshots_of_lanes():
    kept = snapshots()
    keys = jax.random.split(KEY, 4)
    fit_many(COUNTER, None, sampling.full(), keys=keys, steps=5, chunk=2, hooks=[kept])
    assert kept.steps == [2, 4, 5]
    assert jax.tree.map(np.shape, kept.params) == {"w": (3, 4, 2, 3), "b": (3, 4, 3)}


def test_snapshots_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one snapshot, got none"):
        _ = snapshots().params


def test_progress_runs_without_a_terminal(capsys):
    run = count([progress()])
    assert run.state.step == 20
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal 120 wide would have been sent."""
    text = io.StringIO()
    console = rich.console.Console(file=text, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(rich, "_console", console)
    return text


def test_progress_shows_the_step_and_the_metric(terminal):
    count([progress("counting")], steps=20, chunk=10)
    shown = terminal.getvalue()
    assert "counting" in shown
    assert "20/20" in shown
    assert "loss 0.05" in shown


def test_progress_shows_the_median_lane(terminal):
    make = lambda size: COUNTER._replace(  # noqa: E731
        step=lambda state, batch, key: (_step(state, batch, key)[0], {"size": size})
    )
    fit_many(
        make,
        None,
        sampling.full(),
        keys=jax.random.split(KEY, 3),
        hyperparameters={"size": np.float32([1, 7, 100])},
        steps=4,
        chunk=2,
        hooks=[progress(metric="size")],
    )
    assert "size 7" in terminal.getvalue()


def test_progress_without_its_metric(terminal):
    count([progress(metric="nothing")], steps=4)
    assert "4/4" in terminal.getvalue()
    assert "nothing" not in terminal.getvalue()


class Opened(contextlib.AbstractContextManager):
    def __init__(self):
        self.events = []

    def __enter__(self):
        self.events.append("open")
        return self

    def __exit__(self, kind, *error):
        self.events.append(kind)

    def __call__(self, chunk):
        self.events.append(chunk.step)


@pytest.mark.parametrize("fails", [False, True])
def test_context_managers_are_opened_and_closed(fails):
    hook = Opened()

    def other(chunk):
        if fails and chunk.step == 4:
            raise KeyError("planted")

    with pytest.raises(KeyError, match="planted") if fails else contextlib.nullcontext():
        count([hook, other], steps=6)
    assert hook.events == (["open", 2, 4, KeyError] if fails else ["open", 2, 4, 6, None])


def log_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_line_of_metrics_for_each_chunk(tmp_path):
    path = tmp_path / "metrics.jsonl"
    watched = evaluation(lambda state: {"loss": np.float32(0.5), "accuracy": math.nan})
    count([watched, metrics_log(path, validation=watched)], steps=5)
    loss = 1 / np.arange(1, 6, dtype=np.float32)
    means = [float(chunk.mean()) for chunk in (loss[:2], loss[2:4], loss[4:])]
    assert log_of(path) == [
        {
            "step": step,
            "train": {"loss": pytest.approx(mean, rel=1e-7)},
            "validation": {"loss": 0.5, "accuracy": None},
        }
        for step, mean in zip((2, 4, 5), means, strict=True)
    ]


def test_lines_of_steps_taken_again_are_dropped(tmp_path):
    path, whole = tmp_path / "metrics.jsonl", tmp_path / "whole.jsonl"
    count([metrics_log(whole)], steps=8)
    run = count([metrics_log(path)], steps=4)
    count([metrics_log(path)], steps=4, state=run.state)
    assert path.read_text() == whole.read_text()
    # the run ended in the middle of a line, and the state it goes on from is an earlier one
    for cut in (path.stat().st_size - 5, path.stat().st_size - 1, len("{")):
        os.truncate(path, cut)
        count([metrics_log(path)], steps=4, state=run.state)
        kept = whole.read_text().splitlines()[2 if cut > 5 else 0 :][-2:]
        assert path.read_text().splitlines()[-2:] == kept
    assert [line["step"] for line in log_of(path)] == [6, 8]


def test_lines_of_lanes(tmp_path):
    keys = jax.random.split(KEY, 3)
    log = metrics_log(tmp_path / "log")
    fit_many(COUNTER, None, sampling.full(), keys=keys, steps=2, chunk=2, hooks=[log])
    assert log_of(tmp_path / "log") == [{"step": 2, "train": {"loss": [0.75] * 3}}]


def test_a_hook_may_put_another_state_in_the_run_s_place():
    def back_to_zero(chunk):
        if chunk.step == 4:
            params = jax.tree.map(jnp.zeros_like, chunk.state.params)
            return chunk._replace(state=chunk.state.replace(params=params))
        return None

    before, after = snapshots(), snapshots()
    run = count([before, back_to_zero, after, lambda chunk: chunk.step == 8])
    assert before.params["b"][:, 0].tolist() == [2, 4, 2, 4]
    assert after.params["b"][:, 0].tolist() == [2, 0, 2, 4]
    assert (int(run.state.step), float(run.state.params["b"][0])) == (8, 4)
    assert len(run.history["loss"]) == 8
    # the state in which the run ends, too
    assert not count([back_to_zero], steps=4).state.params["b"].any()


def _of_two(state, batch, key):
    record = {"loss": 1.0 / (state.step + 1), "return": jnp.where(state.step > 4, 2.5, jnp.nan)}
    return TrainState(state.step + 1, {}, {}, {}), record


TWO = Algorithm(lambda key: TrainState(jnp.int32(0), {}, {}, {}), _of_two)


def logged(hook, steps=8, state=None):
    """By chunks of 2, with an evaluation of the step."""
    watched = evaluation(lambda state: {"step, squared": int(state.step) ** 2})
    hooks = [watched, hook(watched)]
    return fit(TWO, key=KEY, steps=steps, chunk=2, hooks=hooks, state=state)


def test_a_table_is_what_the_lines_of_json_say(tmp_path):
    """Read by pandas; and a run that goes on drops the lines that it writes again."""
    path = tmp_path / "log.csv"
    table = lambda watched: metrics_log(path, validation=watched)  # noqa: E731
    lines = lambda watched: metrics_log(tmp_path / "log.jsonl", validation=watched)  # noqa: E731
    half = logged(table, steps=4)
    whole = logged(lines)
    logged(table, steps=4, state=half.state)
    path.write_text(path.read_text() + "9,0.1")  # cut short
    logged(table, steps=4, state=half.state)
    found = pandas.read_csv(path)
    assert list(found) == ["step", "train/loss", "train/return", "validation/step, squared"]
    said = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert found["step"].tolist() == [2, 4, 6, 8] == [line["step"] for line in said]
    assert found["train/loss"].tolist() == [line["train"]["loss"] for line in said]
    np.testing.assert_array_equal(found["train/return"], [np.nan, np.nan, 2.5, 2.5])
    assert found["validation/step, squared"].tolist() == [4, 16, 36, 64]
    with pytest.raises(ValueError, match="a table with the columns step,train/loss, got step,"):
        count([metrics_log(path)], steps=2)
    assert int(whole.state.step) == 8


def test_a_table_of_lanes_has_a_column_for_each(tmp_path):
    keys = jax.random.split(KEY, 2)
    fit_many(COUNTER, keys=keys, steps=2, hooks=[metrics_log(tmp_path / "lanes.csv")])
    assert list(pandas.read_csv(tmp_path / "lanes.csv")) == ["step", "train/loss/0", "train/loss/1"]


@pytest.mark.oracle
def test_tensorboard_reads_what_is_written_for_it(tmp_path):
    pytest.importorskip("tensorboardX")
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = lambda watched: training.tensorboard_log(tmp_path, validation=watched)  # noqa: E731
    half = logged(board, steps=4)
    logged(board, steps=4, state=half.state)
    found = events.EventAccumulator(str(tmp_path)).Reload()
    names = ["train/loss", "train/return", "validation/step__squared"]
    assert sorted(found.Tags()["scalars"]) == names
    losses = [(event.step, event.value) for event in found.Scalars("train/loss")]
    means = [(1 / k + 1 / (k - 1)) / 2 for k in (2, 4, 6, 8)]
    assert [step for step, _ in losses] == [2, 4, 6, 8]
    np.testing.assert_allclose([value for _, value in losses], means, rtol=1e-6)
    assert [event.step for event in found.Scalars("train/return")] == [6, 8]


def test_a_writer_of_tensorboards_is_given_what_is_finite(monkeypatch, tmp_path):
    """Without the extra, by a writer of its kind; a run that goes on purges what it takes again."""
    made = []

    class SummaryWriter:
        def __init__(self, folder, purge_step, filename_suffix):
            self.opened, self.scalars, self.closed = (folder, purge_step, filename_suffix), [], 0
            made.append(self)

        def add_scalar(self, name, value, step):
            self.scalars.append((name, value, step))

        def flush(self):
            self.flushed = len(self.scalars)

        def close(self):
            self.closed += 1

    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    board = lambda watched: training.tensorboard_log(tmp_path, validation=watched)  # noqa: E731
    logged(board, steps=4, state=logged(board, steps=4).state)
    assert [writer.opened for writer in made] == [(str(tmp_path), n, f".{n}") for n in (1, 5)]
    assert [writer.closed for writer in made] == [1, 1]
    assert all(writer.flushed == len(writer.scalars) for writer in made)
    found = [scalar for writer in made for scalar in writer.scalars]
    by_name = {name: [s[1:] for s in found if s[0] == name] for name, *_ in found}
    assert list(by_name) == ["train/loss", "validation/step, squared", "train/return"]
    for value, step in by_name["train/loss"]:
        assert value == pytest.approx((1 / step + 1 / (step - 1)) / 2)
    assert by_name["train/return"] == [(2.5, 6), (2.5, 8)]  # NaN before
    assert by_name["validation/step, squared"] == [(n * n, n) for n in (2, 4, 6, 8)]


def test_a_bar_is_for_terminals(monkeypatch):
    for terminal in (True, False):
        console = rich.console.Console(file=io.StringIO(), force_terminal=terminal)
        monkeypatch.setattr(callbacks, "get_console", lambda console=console: console)
        assert progress()._bar.disable == (not terminal)


def test_where_there_is_no_terminal_progress_is_plain_lines(capsys):
    count([progress("reading", every=0.0)], steps=6)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reading 2 of 6  loss 0.5"
    assert re.fullmatch(r"reading 4 of 6  loss 0\.25  [\d,]+ steps/s", lines[1])
    assert lines[2].startswith("reading 6 of 6  loss 0.1667")
    count([progress(every=60.0)], steps=6)  # a short run says nothing
    assert capsys.readouterr().err == ""


def test_in_a_notebook_progress_is_one_line_that_changes(monkeypatch):
    seen = []

    class Handle:
        def update(self, line, raw):
            seen.append(line["text/plain"])

    def display(line, raw, display_id):
        seen.append(line["text/plain"])
        return Handle()

    notebook = types.ModuleType("IPython.display")
    notebook.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    console = types.SimpleNamespace(is_terminal=False, is_jupyter=True)
    monkeypatch.setattr(callbacks, "get_console", lambda: console)
    count([progress()], steps=4)
    assert seen == ["training 2 of 4  loss 0.5", "training 4 of 4  loss 0.25"]
