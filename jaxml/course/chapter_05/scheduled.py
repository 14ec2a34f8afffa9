"""Whether an LSTM that has seen its own tokens in training goes on better from them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml import nn, sequence, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import keys
from jaxml.course import pictures
from jaxml.course.chapter_05.exposure import BASE, BEGIN, END, VOCABULARY, running_sums
from jaxml.course.experiment import Effort
from jaxml.sequence import decoding
from jaxml.training import optimizers, sampling, schedules

MISREAD, BLURRED = 0.1, 0.5
"""How many of the digits, and of the glimpses of the sum, are any digit."""

LSTM = nn.rnn(2 * BASE + VOCABULARY, VOCABULARY, width=64)
WAYS = ("teacher forcing", "scheduled sampling", "with a pass more")


def scheduled_sampling(effort: Effort = "quick") -> Finding:
    """Running sums of misread digits with glimpses of the sum, behind right and own sums."""
    quick = effort == "quick"
    length, rows, seeds, steps = (10, 500, 2, 300) if quick else (40, 2000, 5, 800)
    random = np.random.default_rng(0)
    train = _glimpsed(random, 4 * rows, length)
    test = _glimpsed(random, rows, length)
    optimizer = optimizers.adam(schedules.warmup_cosine(1e-2, steps))
    rise = optax.linear_schedule(0.0, 1.0, steps // 2)
    algorithms = {
        WAYS[0]: sequence.teacher_forcing(NETWORK, optimizer, begin=BEGIN),
        **{
            WAYS[passes]: sequence.scheduled_sampling(
                NETWORK, optimizer, rise, begin=BEGIN, passes=passes
            )
            for passes in ((1,) if quick else (1, 2))
        },
    }
    wrong: dict[str, dict[str, np.ndarray]] = {}
    for name, algorithm in algorithms.items():
        run = training.fit_many(
            algorithm, train, sampling.epochs(64), keys=keys(seeds), steps=steps, chunk=steps
        )
        lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], run.state.params) for i in range(seeds)]
        wrong[name] = {
            "forced": np.stack([(_forced(lane, test) != test["y"]).mean(0) for lane in lanes]),
            "free": np.stack([(_free(lane, test) != test["y"]).mean(0) for lane in lanes]),
        }
    known = {
        "forced": (likeliest(test, right=True) != test["y"]).mean(0),
        "free": (likeliest(test, right=False) != test["y"]).mean(0),
    }
    gaps = {name: (of["free"] - of["forced"]).mean(1) for name, of in wrong.items()}
    free = {name: of["free"].mean(1) for name, of in wrong.items()}
    halved = int((gaps[WAYS[1]] <= gaps[WAYS[0]] / 2).sum())
    better = int((free[WAYS[1]] < free[WAYS[0]]).sum())
    times = np.arange(1, length + 1)
    figure = pictures.curves(
        {f"{name}, its own": (times, 1 - of["free"].mean(0)) for name, of in wrong.items()}
        | {f"{name}, right sums": (times, 1 - wrong[name]["forced"].mean(0)) for name in WAYS[:2]}
        | {"the best possible, its own": (times, 1 - known["free"])},
        "Accuracy at each step, the mean over the seeds: behind their own sums networks that saw "
        "right ones alone fall towards chance; those of scheduled sampling stay near the best "
        "possible, and are a little less right behind right sums.",
        style={f"{name}, right sums": "--" for name in WAYS[:2]}
        | {"the best possible, its own": "o"},
        xlabel="step", ylabel="accuracy", ylim=(0, 1.05),
    )  # fmt: skip
    table = Table(
        ("training", "wrong behind right sums", "wrong behind its own", "gap"),
        [
            (name, f"{of['forced'].mean():.1%}", f"{of['free'].mean():.1%}",
             f"{gaps[name].mean():.1%}, {gaps[name].min():.1%} to {gaps[name].max():.1%}")
            for name, of in wrong.items()
        ]
        + [
            ("the best possible", f"{known['forced'].mean():.1%}", f"{known['free'].mean():.1%}",
             f"{(known['free'] - known['forced']).mean():.1%}")
        ],
    )  # fmt: skip
    return Finding(
        name="scheduled-sampling",
        question="Does it help a network to have seen its own tokens in training?",
        verdict=f"Behind its own sums an LSTM trained by teacher forcing is wrong in "
        f"{free[WAYS[0]].mean():.1%} of {length} steps, behind right ones in "
        f"{wrong[WAYS[0]]['forced'].mean():.1%}; trained by scheduled sampling in "
        f"{free[WAYS[1]].mean():.1%} and {wrong[WAYS[1]]['forced'].mean():.1%}. The gap is at most "
        f"half as wide with {halved} of {seeds} seeds. What is read allows "
        f"{known['free'].mean():.1%} and {known['forced'].mean():.1%}.",
        text=(
            f"Each digit of a running sum modulo {BASE} is misread with probability {MISREAD:g}; "
            f"beside it stands a glimpse of the sum itself, which is any digit with probability "
            f"{BLURRED:g}. Whoever knows the sum before does best to add to it and not to look at "
            "glimpses; whoever does not can tell from some glimpses together that a sum went "
            "wrong. The best possible is exact, by a filter over the ten sums.",
            "The probability of an own token rises from 0 to 1 over half of the updates; that was "
            "chosen on other sequences. These tokens are made behind right ones, or, with a pass "
            "more, behind such tokens. What is best behind a mixture of tokens is not what is best "
            "behind right ones (Huszár 2015, arXiv:1511.05101).",
        ),
        sections=[Section("Behind right sums and behind its own", figures=[figure], table=table)],
        numbers={
            "wrong": wrong,
            "known": known,
            "gaps": gaps,
            "halved": halved,
            "better": better,
        },
        expected="with every seed scheduled sampling errs less behind its own sums, and the gap to "
        "the error behind right ones is at most half as wide",
        holds=halved == better == seeds,
    )


def likeliest(data: Any, *, right: bool) -> np.ndarray:
    """The likeliest sums by what was read so far, and by the right sum before or without it."""
    read, seen, y = data["x"][..., 0], data["x"][..., 1], data["y"]
    rows, length = read.shape
    belief, found = np.eye(BASE)[np.zeros(rows, int)], []
    for t in range(length):
        if right and t:
            belief = np.eye(BASE)[y[:, t - 1] - 1]
        digit = (1 - MISREAD) * np.eye(BASE)[read[:, t]] + MISREAD / BASE
        moved = sum(np.roll(belief, k, axis=1) * digit[:, k, None] for k in range(BASE))
        belief = moved * ((1 - BLURRED) * np.eye(BASE)[seen[:, t]] + BLURRED / BASE)
        belief /= belief.sum(1, keepdims=True)
        found.append(belief.argmax(1) + 1)
    return np.stack(found, axis=1)


def _glimpsed(random: np.random.Generator, rows: int, length: int) -> dict[str, np.ndarray]:
    """Digits as they are read beside glimpses of the sum, and the sums as tokens from 1."""
    read, y = running_sums(random, rows, length, MISREAD)
    blurred = random.random((rows, length)) < BLURRED
    seen = np.where(blurred, random.integers(0, BASE, (rows, length)), y - 1)
    return {"x": np.stack([read, seen], axis=-1), "y": y}


def _apply(params, model_state, given, *, train=False, key=None):
    """An LSTM that reads the token before beside each digit and each glimpse."""
    x, _, previous = given
    hot = [jax.nn.one_hot(previous, VOCABULARY), jax.nn.one_hot(x, BASE).reshape(*x.shape[:2], -1)]
    return LSTM.apply(params, model_state, jnp.concatenate(hot, -1), train=train, key=key)


def _encode(params, x, x_length=None):  # noqa: ARG001
    return jnp.asarray(x)


def _start(x, steps):
    return {
        "x": x[:, :steps],
        "previous": jnp.zeros((len(x), steps), jnp.int32),
        "time": jnp.zeros(len(x), jnp.int32),
    }


def _step(params, tokens, cache):
    """From the first token on each time, which is short enough here."""
    at = cache["time"][0]
    previous = cache["previous"].at[:, at].set(tokens)
    logits, _ = _apply(params, {}, (cache["x"], None, previous))
    return logits[:, at], {**cache, "previous": previous, "time": cache["time"] + 1}, None


NETWORK = nn.Seq2Seq(LSTM.init, _apply, _encode, _start, _step)


@jax.jit
def _forced(params, data):
    return NETWORK.apply(params, {}, sequence.forced(data, begin=BEGIN))[0].argmax(-1)


def _free(params, data):
    length = data["y"].shape[1]
    cache = _start(jnp.asarray(data["x"]), length)
    return decoding.greedy(
        NETWORK.step, params, cache, begin=BEGIN, end=END, maximum_length=length,
        minimum_length=length,
    ).tokens  # fmt: skip
