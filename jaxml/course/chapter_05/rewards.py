"""What a network learns from a score of whole sequences that has no gradient."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key, keys
from jaxml.core.types import Algorithm, Model
from jaxml.core.words import counted
from jaxml.course import pictures
from jaxml.course.chapter_05 import toy
from jaxml.course.experiment import Effort
from jaxml.sequence import decoding, metrics, reinforce
from jaxml.training import losses, optimizers, sampling

ENDS: dict[str, Any] = {"begin": toy.BEGIN, "end": toy.END, "maximum_length": 4}
RIGHT = (toy.A, toy.B, toy.C, toy.END)
ROWS = 32
BASELINES = {"self-critical baseline": "greedy", "no baseline": "none"}


def reward(effort: Effort = "quick") -> Finding:
    """BLEU against abc, learned from by REINFORCE, behind cross-entropy on what people wrote."""
    quick = effort == "quick"
    seeds, steps, draws = (2, 160, 0) if quick else (10, 300, 4000)
    table = _by_cross_entropy()
    trained = dict(list(BASELINES.items())[: 1 if quick else 2])
    history, chance, found, variance = {}, {}, {}, {}
    for name, of in trained.items():
        rows = {"x": np.zeros(ROWS, np.int32)}
        algorithm = _algorithm(table, optimizers.adam(0.05), of)
        run = training.fit_many(algorithm, rows, sampling.full(), keys=keys(seeds), steps=steps)
        history[f"drawn, {name}"] = run.history["reward"].mean(0)
        if of == "greedy":
            history["greedy choice, the baseline"] = run.history["baseline"].mean(0)
        params = run.state.params
        chance[name] = [_probability(params[lane]) for lane in range(seeds)]
        found[name] = [_greedy(params[lane]) for lane in range(seeds)]
        if not quick:
            variance[name] = _variance(table, of, draws)
    first, first_word = _probability(table), _greedy(table)
    figure = pictures.curves(
        history,
        "Mean BLEU against updates: that of the drawn sequences rises to nearly 100 with the "
        "baseline and without it; that of the greedy choice begins lower and is soon 100.",
        style={"drawn, no baseline": "--"},
        xlabel="update", ylabel="BLEU, mean of the seeds", ylim=(0, 105),
    )  # fmt: skip
    entries = [("cross-entropy", f"{first:.2f}", first_word, _bleu(first_word), "")]
    entries += [
        (f"then REINFORCE, {name}", f"{min(chance[name]):.2f}", ", ".join(sorted({*found[name]})),
         min(map(_bleu, found[name])), f"{variance[name]:.0f}" if variance else "")
        for name in trained
    ]  # fmt: skip
    own, other = BASELINES
    lower = "" if quick else ", and the baseline lowers the variance"
    holds = first_word in ("dec", "dfc") and {*found[own]} == {"abc"} and min(chance[own]) > 0.9
    steadier = ""
    if variance:
        ratio = variance[own] / variance[other]
        holds &= ratio < 1
        steadier = f" The {own} leaves {ratio:.0%} of the first gradient's variance."
    return Finding(
        name="reward",
        question="Can a network learn from a score that has no gradient?",
        verdict=f"Cross-entropy on sequences of which 40 % are abc gives abc {first:.2f}, and its "
        f"greedy choice is {first_word}. After {steps} updates by the BLEU against abc the least "
        f"probability of abc is {min(chance[own]):.2f} ({counted(seeds, 'seed')}), and the greedy "
        f"choice is {' or '.join(sorted({*found[own]}))}.{steadier}",
        sections=[
            Section(
                "What is learned",
                figures=[figure],
                table=Table(
                    ("training", "probability of abc", "greedy choice", "its BLEU",
                     "variance of the gradient"),
                    [(a, b, c, f"{d:.0f}", e) for a, b, c, d, e in entries],
                ),
            )
        ],
        numbers={
            "cross_entropy": {"probability": first, "greedy": first_word},
            "probability": chance, "greedy": found, "variance": variance,
            "reward": {name: values.tolist() for name, values in history.items()},
        },
        expected="cross-entropy's greedy choice is one of the sequences of .3; with the reward abc "
        f"has more than .9 with every seed{lower}",
        holds=bool(holds),
    )  # fmt: skip


def bleu_of_abc(tokens: jax.Array, lengths: jax.Array, batch: Any) -> jax.Array:
    """Of each sequence, its end included."""
    rows = len(batch["x"])
    return metrics.sentence_bleu(
        tokens, lengths, jnp.tile(jnp.array(RIGHT), (rows, 1)), jnp.full(rows, len(RIGHT))
    )


def _cache(params: Any, batch: Any) -> Any:
    del params
    return {"node": batch["x"], "fed": batch["x"]}


def _by_cross_entropy() -> jax.Array:
    """A table trained on 40 abc, 30 dec and 30 dfc, teacher-forced."""
    sequences = [s for s, p in toy.SEQUENCES.items() for _ in range(round(100 * p))]
    length = len(sequences[0])
    behind = [[toy.node(s[:i], toy.VOCABULARY) for i in range(length)] for s in sequences]
    split = {"x": np.array(behind), "y": np.array(sequences)}
    shape = toy.nodes(toy.VOCABULARY, length), toy.VOCABULARY

    def logits(params, state, x, *, train=False, key=None):
        del train, key  # nothing in it is random
        return params[x], state

    model = Model(lambda *_: (jnp.zeros(shape), {}), logits)
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(0.1))
    return training.fit(algorithm, split, sampling.full(), key=key(0), steps=300).state.params


def _probability(table: Any) -> float:
    """Of abc and its end."""
    scores = decoding.log_probabilities(
        toy.step, table, toy.start(1), [RIGHT], [len(RIGHT)], begin=toy.BEGIN
    )
    return float(np.exp(scores.sum()))


def _greedy(table: Any) -> str:
    return toy.spelled(decoding.greedy(toy.step, table, toy.start(1), **ENDS).tokens[0])


def _bleu(word: str) -> float:
    letters = {letter: token for token, letter in toy.LETTERS.items()}
    tokens = jnp.array([[*(letters[letter] for letter in word), toy.END]])
    return float(bleu_of_abc(tokens, jnp.array([tokens.shape[1]]), {"x": [0]})[0])


def _algorithm(table: jax.Array, optimizer: Any, baseline: str) -> Algorithm:
    return reinforce(
        lambda _: table, _cache, toy.step, bleu_of_abc, optimizer, baseline=baseline, **ENDS
    )


def _variance(table: jax.Array, baseline: str, draws: int) -> float:
    """Of the first update's gradient from one sequence, summed over the parameters."""
    algorithm = _algorithm(table, optimizers.sgd(1.0), baseline)
    state, batch = algorithm.init(key(0)), {"x": jnp.zeros(1, jnp.int32)}

    @jax.jit
    @jax.vmap
    def gradients(own):
        return state.params - algorithm.step(state, batch, own)[0].params

    return float(gradients(jax.random.split(key(1), draws)).var(0).sum())
