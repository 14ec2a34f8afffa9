"""Two networks against each other: one draws samples, the other tells them from data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Algorithm, Batch, Model, Params, TrainState
from jaxml.generative.games import GAMES, Game
from jaxml.generative.penalties import Penalty
from jaxml.training import averaging
from jaxml.training.updates import start, update

Latents = Callable[[jax.Array, int], Any]
"""`(key, n) -> (n, ...)`."""


@flax.struct.dataclass
class GANState:
    """What the training of two networks carries from step to step.

    Attributes:
        step: how many times the generator was updated.
        generator: its `TrainState`.
        critic: likewise.
        average: the moving average of the generator's parameters; None without one.
    """

    step: Any
    generator: TrainState
    critic: TrainState
    average: Any


def gan(
    generator: Model,
    critic: Model,
    game: str | Game,
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
    *,
    latents: int | Latents,
    penalty: Penalty | None = None,
    project: Callable[[Params], Params] | None = None,
    critic_steps: int = 1,
    alternating: bool = True,
    unrolled: int = 0,
    noise: float = 0.0,
    average: float | None = None,
) -> Algorithm:
    """Train a generator against a critic.

    Args:
        generator: latents -> samples, shaped as the data.
        critic: data or samples -> `(batch, 1)` or `(batch,)`.
        game: a name of `GAMES`, or one's own.
        optimizers: the generator's and the critic's.
        latents: how many columns of standard normal numbers the generator is given; or what draws
            them.
        penalty: added to the critic's loss, such as `r1(10.0)`.
        project: of the critic's parameters after each of its updates, such as `clip(0.01)`.
        critic_steps: updates of the critic for each of the generator. Each takes its share of the
            batch, whose rows must be a multiple of them.
        alternating: whether the generator meets the critic after its updates, or before.
        unrolled: so many updates more of the critic, on the same examples and samples, are
            imagined before the generator meets it, and differentiated through. The critic's
            optimiser must have a derivative: Adam has one at a gradient of 0 with
            `optax.adam(..., eps_root=1e-8)` alone.
        noise: the standard deviation of Gaussian noise on all that the critic is shown, examples
            and samples, in their units.
        average: the decay of a moving average of the generator, as in
            `training.averaging.moving_average`; early it is worse than the generator.

    Returns:
        An algorithm on batches with `"x"`. Its state is a `GANState`; its metrics are
        `critic_loss` and `generator_loss` (of the last critic update, and before the generator's)
        and `critic_gradient_norm` and `generator_gradient_norm`. Losses that are not finite end
        the run.

    Raises:
        ValueError: if an argument is not as described; by `init`, if there is a penalty and the
            critic has batch norm; by the first update, if the rows of a batch are no multiple of
            the critic's updates, or one for a critic with batch norm, samples are not shaped as
            the data, or the critic puts out more than a number for each.

    Reference:
        Goodfellow et al. (2014), arXiv:1406.2661, algorithm 1; Metz et al. (2017),
        arXiv:1611.02163, equations 5 to 8 (unrolled); Sønderby et al. (2017), arXiv:1610.04490,
        section 3.2 (noise); Yazıcı et al. (2019), arXiv:1806.04498, for the average.

    >>> from jaxml import nn
    >>> algorithm = gan(
    ...     nn.mlp([2, 8, 2]), nn.mlp([2, 8, 1]), "non_saturating",
    ...     (optax.adam(1e-3), optax.adam(1e-3)), latents=2)
    >>> state = algorithm.init(jax.random.key(0))
    >>> state, metrics = algorithm.step(state, {"x": jnp.ones((16, 2))}, jax.random.key(1))
    >>> int(state.step), sorted(metrics)[0]
    (1, 'critic_gradient_norm')
    """
    for name, model in (("generator", generator), ("critic", critic)):
        require(isinstance(model, Model), f"{name} as a Model", type(model).__name__)
    rules = _rules(game)
    two = isinstance(optimizers, tuple) and len(optimizers) == 2
    require(two and all(hasattr(o, "update") for o in optimizers), "two optimizers", optimizers)
    of_generator, of_critic = optimizers
    draw = latents if callable(latents) else _normal(require_positive_int("latents", latents))
    critic_steps = require_positive_int("critic_steps", critic_steps)
    both = alternating or critic_steps == 1
    require(both, "one critic step where both move at once", critic_steps)
    whole = isinstance(unrolled, int) and unrolled >= 0
    require(whole, "unrolled to be a whole number of at least 0", repr(unrolled))
    require(0 <= noise < float("inf"), "a finite noise of at least 0", noise)
    require(average is None or 0 <= average < 1, "average in [0, 1)", average)

    def shown(x, key):
        """What the critic sees of examples or samples."""
        if noise == 0:
            return x
        return x + noise * jax.random.normal(jax.random.fold_in(key, 1), x.shape, x.dtype)

    def judged(state, params, x, key):
        """The critic's outputs, and its new model state."""
        found, model_state = critic.apply(params, state.model_state, x, train=True, key=key)
        return _column(found, len(x)), model_state

    def sampled(state, params, n, key):
        key_latent, key_model = jax.random.split(key)
        z = draw(key_latent, n)
        return generator.apply(params, state.model_state, z, train=True, key=key_model)

    def critic_loss(params, state, real, fake, key):
        keys = jax.random.split(key, 3)
        real, fake = shown(real, keys[0]), shown(fake, keys[1])
        on_real, model_state = judged(state, params, real, keys[0])
        state = dataclasses.replace(state, model_state=model_state)
        on_fake, model_state = judged(state, params, fake, keys[1])
        loss = rules.discriminator(on_real, on_fake).mean()
        if penalty is not None:
            fixed = lambda params, x: judged(state, params, x, keys[1])[0]  # noqa: E731
            loss = loss + penalty(fixed, params, real, fake, keys[2])
        return loss, model_state

    def taught(state, real, fake, key):
        """The critic after one update."""
        value, gradient = jax.value_and_grad(critic_loss, has_aux=True)(
            state.params, state, real, fake, key
        )
        state = update(of_critic, state, gradient, model_state=value[1])
        if project is not None:
            state = dataclasses.replace(state, params=project(state.params))
        return state, (value[0], optax.tree.norm(gradient))

    def update_critic(state, generator_state, real, key):
        key_sample, key_loss = jax.random.split(key)
        fake, _ = sampled(generator_state, generator_state.params, len(real), key_sample)
        require(fake.shape == real.shape, f"samples of shape {real.shape}", fake.shape)
        return taught(state, real, fake, key_loss)

    def generator_loss(params, state, critic_state, real, key):
        key_sample, key_judge = jax.random.split(key)
        fake, model_state = sampled(state, params, len(real), key_sample)
        if unrolled:
            keys = jax.random.split(jax.random.fold_in(key, 1), unrolled)
            critic_state, _ = jax.lax.scan(
                lambda judge, key: (taught(judge, real, fake, key)[0], None), critic_state, keys
            )
        on_fake, _ = judged(critic_state, critic_state.params, shown(fake, key_judge), key_judge)
        return rules.generator(on_fake).mean(), model_state

    def step(state: GANState, batch: Batch, key: jax.Array):
        real = batch["x"]
        multiple = len(real) % critic_steps == 0 and len(real) > 0
        require(multiple, f"batches of a multiple of {critic_steps} rows", len(real))
        parts = real.reshape(critic_steps, -1, *real.shape[1:])
        several = parts.shape[1] > 1 or not _batch_norm(state.critic.model_state)
        require(several, "several rows for a critic with batch norm", parts.shape[1])
        key_critic, key_generator = jax.random.split(key)
        keys = jax.random.split(key_critic, critic_steps)
        judge, (losses, norms) = jax.lax.scan(
            lambda judge, given: update_critic(judge, state.generator, *given),
            state.critic, (parts, keys),
        )  # fmt: skip
        met = judge if alternating else state.critic
        value, gradient = jax.value_and_grad(generator_loss, has_aux=True)(
            state.generator.params, state.generator, met, parts[-1], key_generator
        )
        moved = update(of_generator, state.generator, gradient, model_state=value[1])
        mean = state.average
        if average is not None:
            decay = averaging.decay_at(state.step + 1, average)
            mean = averaging.moved(mean, moved.params, decay)
        record = {
            "critic_loss": losses[-1],
            "generator_loss": value[0],
            "critic_gradient_norm": norms[-1],
            "generator_gradient_norm": optax.tree.norm(gradient),
        }
        return GANState(state.step + 1, moved, judge, mean), record

    def init(key: jax.Array) -> GANState:
        keys = jax.random.split(key)
        first = start(generator, of_generator, keys[0])
        judge = start(critic, of_critic, keys[1])
        apart = penalty is None or not _batch_norm(judge.model_state)
        require(apart, "a critic whose slope is of each row alone beside a penalty", "batch norm")
        mean = None if average is None else first.params
        return GANState(jnp.int32(0), first, judge, mean)

    return Algorithm(init, step, finite=("critic_loss", "generator_loss"))


def gan_losses(
    generator: Model,
    critic: Model,
    game: str | Game,
    state: GANState,
    real: Any,
    latents: Any,
    *,
    penalty: Penalty | None = None,
    key: jax.Array | None = None,
) -> tuple[Callable[[Params, Params], jax.Array], Callable[[Params, Params], jax.Array]]:
    """The two losses as functions of both networks' parameters, for `landscape.game_spectrum`.

    Args:
        generator: as in `gan`.
        critic: likewise.
        game: likewise.
        state: for what is not a parameter, such as batch norm's averages.
        real: the data.
        latents: what the generator is given, a row for each row of the data.
        penalty: as in `gan`.
        key: of a random penalty; `jax.random.key(0)` by default.

    Returns:
        The generator's and the critic's, `(generator_params, critic_params) -> scalar`, networks in
        evaluation mode.

    >>> from jaxml import landscape, nn
    >>> nets = nn.mlp([1, 2]), nn.mlp([2, 1])
    >>> state = gan(*nets, "hinge", (optax.sgd(0.1),) * 2, latents=1).init(jax.random.key(0))
    >>> losses = gan_losses(*nets, "hinge", state, jnp.ones((4, 2)), jnp.ones((4, 1)))
    >>> landscape.game_jacobian(losses, [state.generator.params, state.critic.params]).shape
    (7, 7)
    """
    rules = _rules(game)
    real, latents = jnp.asarray(real), jnp.asarray(latents)
    drawn = jax.random.key(0) if key is None else key
    same = len(real) == len(latents)
    require(same, f"{len(real)} rows of latents, as of data", len(latents))

    def judged(params, x):
        return _column(critic.apply(params, state.critic.model_state, x)[0], len(x))

    def sampled(params):
        return generator.apply(params, state.generator.model_state, latents)[0]

    def of_generator(params, other):
        return rules.generator(judged(other, sampled(params))).mean()

    def of_critic(other, params):
        fake = sampled(other)
        loss = rules.discriminator(judged(params, real), judged(params, fake)).mean()
        return loss if penalty is None else loss + penalty(judged, params, real, fake, drawn)

    return of_generator, of_critic


def _rules(game: str | Game) -> Game:
    if isinstance(game, str):
        game = GAMES[require_choice("game", game, tuple(GAMES))]
    require(isinstance(game, Game), "game as a name or a Game", repr(game))
    return game


def _batch_norm(model_state: Any) -> bool:
    """Whether a network has it, which couples the rows of a batch."""
    paths = (path for path, _ in jax.tree_util.tree_leaves_with_path(model_state))
    return any("batch_stats" in jax.tree_util.keystr(path) for path in paths)


def _normal(columns: int) -> Latents:
    return lambda key, n: jax.random.normal(key, (n, columns))


def _column(outputs: jax.Array, rows: int) -> jax.Array:
    one = outputs.shape in ((rows,), (rows, 1))
    require(one, f"a critic of one output for each of {rows} rows", outputs.shape)
    return outputs.reshape(rows)
