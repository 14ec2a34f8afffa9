"""Real words by reward: what cross-entropy trained goes on by the errors in what it writes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxml import data, nn, sequence, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.types import TrainState
from jaxml.core.words import counted
from jaxml.course import pictures
from jaxml.course.chapter_05.monolingual import LONGEST, short
from jaxml.course.experiment import Effort
from jaxml.sequence import metrics
from jaxml.training import optimizers, sampling, schedules

FIRST, MORE, REWARDED = "cross-entropy", "more cross-entropy", "then by reward"
RATE = 2e-4
"""Of Adam, of both that go on."""

_TEN = 10
"""Updates that are drawn as one point."""


def word_rewards(effort: Effort = "quick") -> Finding:
    """A pronouncing Transformer goes on by cross-entropy, or by the share of right phonemes."""
    quick = effort == "quick"
    rows, steps, more, seeds = (300, 60, 10, 2) if quick else (20_000, 1200, 600, 3)
    dictionary = data.load("cmudict", stress=False)
    letters, phonemes = (dictionary.meta[f"{n}_vocabulary"] for n in ("input", "target"))
    train, test = (short(dictionary.splits[name]) for name in ("train", "test"))
    test = {name: values[: 200 if quick else 3000] for name, values in test.items()}
    begin, end = len(phonemes), len(phonemes) + 1
    marks: dict[str, Any] = {"begin": begin, "end": end, "maximum_length": LONGEST + 1}
    network = nn.transformer(
        len(letters), end + 1, width=16 if quick else 64, layers=1, hidden=32 if quick else 128
    )

    def rewards(tokens: Any, lengths: Any, batch: Any) -> Any:
        """1 − edits / phonemes; what does not end is written to its end."""
        ended = jnp.take_along_axis(tokens, lengths[:, None] - 1, axis=1)[:, 0] == end
        y_length = batch["mask"].sum(1) - 1
        edits = metrics.edit_distance(tokens, lengths - ended, batch["y"], y_length)
        return 1 - edits / y_length

    rate = schedules.warmup_cosine(1e-2 if quick else 2e-3, steps)
    first = sequence.teacher_forcing(network, optimizers.adam(rate), begin=begin)
    optimizer = optimizers.adam(RATE)
    ways = {
        MORE: sequence.teacher_forcing(network, optimizer, begin=begin),
        REWARDED: sequence.reinforce(
            lambda key: network.init(key)[0],
            lambda params, batch: network.start(
                network.encode(params, batch["x"], batch["x_length"]), LONGEST + 1
            ),
            network.step, rewards, optimizer, **marks,
        ),
    }  # fmt: skip
    held_out = sequence.with_end(test, end)
    known = [[y[:n].tolist()] for y, n in zip(test["y"], test["y_length"], strict=True)]
    found: dict[str, dict[str, list[float]]] = {
        name: {"reward": [], "words": []} for name in (FIRST, *ways)
    }
    drawn = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(train["x"]))[:rows]
        own = sequence.with_end({name: values[order] for name, values in train.items()}, end)
        run = training.fit(first, own, sampling.epochs(64), key=key(seed), steps=steps, chunk=steps)
        params = {FIRST: run.state.params}
        for name, algorithm in ways.items():
            state = TrainState(
                jnp.int32(0), params[FIRST], run.state.model_state, optimizer.init(params[FIRST])
            )
            later = training.fit(
                algorithm, own, sampling.epochs(64), key=key(seed), steps=more, chunk=more,
                state=state,
            )  # fmt: skip
            params[name] = later.state.params
            if name == REWARDED:
                drawn.append(later.history["reward"])
        for name, own_params in params.items():
            out = sequence.decode(network, own_params, test, **marks)
            found[name]["reward"].append(float(rewards(out.tokens, out.lengths, held_out).mean()))
            found[name]["words"].append(1 - metrics.sequence_error_rate(out.sequences(), known))
    gain = np.subtract(found[REWARDED]["reward"], found[MORE]["reward"])
    mean = {name: {k: float(np.mean(v)) for k, v in kinds.items()} for name, kinds in found.items()}
    return Finding(
        name="word-rewards",
        question="Does a network that pronounces gain from a reward for what it writes?",
        verdict=f"Of {len(known):,} words never seen a Transformer trained by cross-entropy has a "
        f"mean reward of {mean[FIRST]['reward']:.3f}; after {more} more updates by cross-entropy "
        f"{mean[MORE]['reward']:.3f}, after as many by the reward itself "
        f"{mean[REWARDED]['reward']:.3f}, which is higher with {(gain > 0).sum()} of "
        f"{counted(seeds, 'seed')} (by {gain.min():+.3f} to {gain.max():+.3f}); right are "
        f"{mean[FIRST]['words']:.1%}, {mean[MORE]['words']:.1%} and "
        f"{mean[REWARDED]['words']:.1%} of the words.",
        text=(
            f"{rows:,} words of at most {LONGEST} letters and phonemes to train, {steps:,} updates "
            "of 64. The reward of what is written is 1 − edits / phonemes, against the "
            "dictionary's first pronunciation; it is learned from by REINFORCE with the reward of "
            "the greedy choice as the baseline. Measured is what is written greedily. "
            "A rate of 3e-5, tried with one seed on the validation set, did not help either.",
        ),
        sections=[
            Section(
                "On words never seen",
                table=Table(
                    ("training", "mean reward", "words right"),
                    [
                        (name, " ".join(f"{v:.3f}" for v in kinds["reward"]),
                         " ".join(f"{v:.1%}" for v in kinds["words"]))
                        for name, kinds in found.items()
                    ],
                ),
            ),
            Section(
                "The reward of what is drawn from the network",
                figures=[
                    pictures.curves(
                        {
                            f"seed {i}": (_TEN * np.arange(len(_smooth(values))), _smooth(values))
                            for i, values in enumerate(drawn)
                        },
                        "The mean reward of what is drawn in training, against updates.",
                        xlabel="update", ylabel="mean reward, training words",
                    )
                ],
            ),
        ],
        numbers={"found": found, "gain": gain, "drawn": [_smooth(v).tolist() for v in drawn]},
        expected="a few steps change little: the mean rewards are less than 0.1 apart" if quick else
        "at every seed the mean reward on words never seen is higher by reward than by more "
        "cross-entropy",
        holds=bool((abs(gain) < 0.1).all() if quick else (gain > 0).all()),
    )  # fmt: skip


def _smooth(values: np.ndarray) -> np.ndarray:
    """Means of ten updates each."""
    values = np.asarray(values)
    return values[: len(values) // _TEN * _TEN].reshape(-1, _TEN).mean(1)
