"""Learning from a reward of whole sequences, which need not be differentiable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxml.core.checks import require, require_choice
from jaxml.core.empirical_risk import in_float32, per_example, weighted_mean
from jaxml.core.types import Algorithm, Batch, Params, TrainState
from jaxml.sequence import decoding
from jaxml.sequence.decoding.steps import PAD, Adjust, Step
from jaxml.training.updates import update

Reward = Callable[[jax.Array, jax.Array, Batch], jax.Array]
"""`(tokens, lengths, batch) -> (rows,)`, of sequences with their ends, padded."""


def reinforce(
    init: Callable[[jax.Array], Params],
    start: Callable[[Params, Batch], Any],
    step: Step,
    reward: Reward,
    optimizer: optax.GradientTransformation,
    *,
    begin: int,
    end: int,
    maximum_length: int,
    adjust: Adjust | None = None,
    baseline: str = "greedy",
) -> Algorithm:
    """Make sequences likelier that earn more than the network's own best guess.

    Each update draws one sequence for each example and ascends the mean of
    (its reward − the baseline) · ∇ its log-probability, whose expectation is the gradient of the
    expected reward.

    Args:
        init: `key -> params`; `lambda key: trained` goes on from what was trained otherwise.
        start: `(params, batch) -> cache`, before the first token, a row for each example.
        step: the network, as in `decoding.greedy`.
        reward: `(tokens, lengths, batch) -> (rows,)`, compiled with the update
            (`jax.pure_callback` calls what is not JAX).
        optimizer: an optax optimiser; it descends the negative reward.
        begin: fed first.
        end: of a sequence.
        maximum_length: end included.
        adjust: `logits -> logits`, as in `decoding.greedy`.
        baseline: what is subtracted from the reward: "greedy", the reward of the likeliest tokens
            (self-critical); or "none". Neither changes the expectation.

    Returns:
        An algorithm whose state is a `TrainState` and whose metrics are `reward` (the mean of what
        was drawn), `baseline` (if there is one) and `gradient_norm`. A reward that is not finite
        ends the run with `training.NonFiniteError`.

    Raises:
        ValueError: if an argument is not of its kind; by the first update, as `decoding.greedy`
            and if the reward is not one number a row.

    Reference:
        Williams (1992), Machine Learning 8:229-256; Rennie et al. (2017), arXiv:1612.00563,
        equations 7 and 9, for the baseline.

    Example:
        >>> from jaxml import training
        >>> def step(table, tokens, cache):  # what comes first, then the end
        ...     return jnp.where(tokens[:, None] == 1, table, 99 * jnp.eye(5)[2]), cache, None
        >>> algorithm = reinforce(
        ...     lambda key: jnp.zeros(5), lambda params, batch: batch, step,
        ...     lambda tokens, lengths, batch: tokens[:, 0] == batch["y"], optax.sgd(1.0),
        ...     begin=1, end=2, maximum_length=2)
        >>> split = {"y": jnp.full(20, 4)}
        >>> run = training.fit(algorithm, split, training.sampling.full(), key=jax.random.key(0),
        ...                    steps=50)
        >>> int(run.state.params.argmax())
        4
    """
    for name, given in (("init", init), ("start", start), ("step", step), ("reward", reward)):
        require(callable(given), f"{name} as a function", repr(given))
    require(hasattr(optimizer, "update"), "an optax optimizer", repr(optimizer))
    require_choice("baseline", baseline, ("greedy", "none"))

    def without_padding(logits):
        """So that what is drawn and what is scored are one distribution."""
        logits = logits if adjust is None else adjust(logits)
        return logits.at[:, PAD].set(-jnp.inf)

    options: Any = {"begin": begin, "adjust": without_padding}
    ends = {"end": end, "maximum_length": maximum_length}

    def one(state, batch, key):
        def rewards_of(decode, **own):
            found = decode(step, state.params, start(state.params, batch), **options, **ends, **own)
            values = jnp.asarray(reward(found.tokens, found.lengths, batch))
            return found, per_example(values.astype(jnp.result_type(float)), batch)

        drawn, rewards = rewards_of(decoding.sample, key=key)
        record = {"reward": weighted_mean(rewards, batch)}
        advantages = rewards
        if baseline == "greedy":
            _, others = rewards_of(decoding.greedy)
            record["baseline"] = weighted_mean(others, batch)
            advantages = rewards - others

        def objective(params):
            scores = decoding.log_probabilities(
                step, params, start(params, batch), drawn.tokens, drawn.lengths, **options
            )
            return -weighted_mean(advantages * scores.sum(1), batch)

        gradient = jax.grad(objective)(state.params)
        record["gradient_norm"] = optax.tree.norm(jax.tree.map(in_float32, gradient))
        return update(optimizer, state, gradient), record

    def first(key):
        params = init(key)
        return TrainState(jnp.int32(0), params, {}, optimizer.init(params))

    finite = ("reward", "baseline") if baseline == "greedy" else ("reward",)
    return Algorithm(first, one, finite=finite)
