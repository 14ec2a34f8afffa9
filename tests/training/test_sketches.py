"""Algorithms of several kinds, each in some twenty lines: what the loop must be able to carry.

A GAN with two networks, a policy gradient that rolls out its environment inside the step, MAML
with its inner loop inside its loss, and a sequence-to-sequence network with lengths and masks; each
under `fit`, `fit_many`, checkpoints, resumption to the bit, `landscape` in a part of its state, and
a page of both.
"""

import html

import flax.struct
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxml import landscape, nn, report, training
from jaxml.core.finding import finding
from jaxml.core.types import Algorithm, Model, TrainState
from jaxml.training import losses, metrics, sampling

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


@flax.struct.dataclass
class Adversaries:
    step: jax.Array
    generator: TrainState
    critic: TrainState


GENERATOR, CRITIC = (nn.mlp(widths, activation="tanh") for widths in ([2, 8, 1], [1, 8, 1]))


def critic_loss(params, state, batch):
    """Of real numbers and of forged ones, as Goodfellow et al. 2014."""
    forged = GENERATOR.apply(state.generator.params, {}, batch["noise"])[0]
    real, fake = (CRITIC.apply(params, {}, x)[0] for x in (batch["x"], forged))
    return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean()


def generator_loss(params, state, batch):
    forged = GENERATOR.apply(params, {}, batch["noise"])[0]
    return jax.nn.softplus(-CRITIC.apply(state.critic.params, {}, forged)[0]).mean()


def gan(rate=3e-3):
    adam = optax.adam(rate)

    def init(key):
        key_generator, key_critic = jax.random.split(key)
        generator = training.start(GENERATOR, adam, key_generator)
        return Adversaries(jnp.int32(0), generator, training.start(CRITIC, adam, key_critic))

    def step(state, batch, key):
        batch = batch | {"noise": jax.random.normal(key, (len(batch["x"]), 2))}
        record = {}
        for name, loss in (("critic", critic_loss), ("generator", generator_loss)):
            own = getattr(state, name)
            record[name], gradient = jax.value_and_grad(loss)(own.params, state, batch)
            state = state.replace(**{name: training.update(adam, own, gradient)})
        return state.replace(step=state.step + 1), record

    return Algorithm(init, step, finite=("critic", "generator"))


POLICY = nn.linear(1, 2)


def episode_loss(params, key):
    """REINFORCE on a walk of 8 steps that pays its position, from the policy's own choices."""

    def walk(at, key):
        logits = POLICY.apply(params, {}, at[None])[0]
        action = jax.random.categorical(key, jax.lax.stop_gradient(logits))
        at = at + 2 * action - 1
        return at, (jax.nn.log_softmax(logits)[action], at)

    _, (chosen, rewards) = jax.lax.scan(walk, jnp.float32(0), jax.random.split(key, 8))
    to_go = jnp.cumsum(rewards[::-1])[::-1]
    return -(chosen * to_go).sum(), rewards.sum()


def policy_gradient(rate=0.02):
    adam = optax.adam(rate)

    def loss(params, key):
        surrogates, returns = jax.vmap(episode_loss, (None, 0))(params, jax.random.split(key, 16))
        return surrogates.mean(), returns.mean()

    def step(state, batch, key):
        (_, value), gradient = jax.value_and_grad(loss, has_aux=True)(state.params, key)
        ended = (state.step + 1) % 2 == 0  # as if every other step finished no episode
        record = {"return": jnp.where(ended, value, jnp.nan)}
        return training.update(adam, state, gradient), record

    return Algorithm(lambda key: training.start(POLICY, adam, key), step)


SINE = nn.mlp([1, 16, 1], activation="tanh")


def adapted(params, state, episodes, *, train=False, key=None):
    """Predictions on each episode's queries after one step of descent on its support."""

    def one(support, query):
        def inner(params):
            return losses.mse(SINE.apply(params, state, support["x"])[0], support).mean()

        faster = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(inner)(params))
        return SINE.apply(faster, state, query["x"])[0]

    return jax.vmap(one)(episodes["support"], episodes["query"]), state


def of_query(loss):
    return lambda outputs, episodes: loss(outputs, episodes["query"])


META, EPISODES_IN = Model(SINE.init, adapted), {"inputs": lambda episodes: episodes}


def maml(rate=3e-3):
    return training.supervised(META, of_query(losses.mse), optax.adam(rate), **EPISODES_IN)


class Reverser(linen.Module):
    """A recurrent encoder whose state, after each source's last token, starts the decoder."""

    @linen.compact
    def __call__(self, inputs):
        source, lengths, target = inputs
        embed = linen.Embed(5, 16)
        cells = [linen.GRUCell(16, name=name) for name in ("encoder", "decoder")]
        carry, _ = linen.RNN(cells[0], return_carry=True)(embed(source), seq_lengths=lengths)
        return linen.Dense(5)(linen.RNN(cells[1])(embed(target), initial_carry=carry))


def teacher_forced(batch):
    """The source, its lengths, and the target one position late behind a start token, 0."""
    late = jnp.pad(batch["y"], ((0, 0), (1, 0)))[:, :-1]
    return batch["x"], batch["x_length"], late


def sequences(n, longest=4):
    """Numbers 1 to 4 and their reverse, padded with 0."""
    length = RNG.integers(2, longest + 1, n)
    mask = np.asarray(training.length_mask(length, longest))
    x = np.where(mask, RNG.integers(1, 5, (n, longest)), 0)
    y = np.zeros_like(x)
    for row, source, k in zip(y, x, length, strict=True):
        row[:k] = source[:k][::-1]
    return {"x": x, "x_length": length, "y": y, "mask": mask}


PAIRS = sequences(64)
REVERSER = nn.from_linen(Reverser(), teacher_forced(PAIRS))


def seq2seq(rate=1e-2):
    loss, adam = losses.softmax_cross_entropy, optax.adam(rate)
    accuracy = {"accuracy": metrics.accuracy}
    return training.supervised(REVERSER, loss, adam, inputs=teacher_forced, metrics=accuracy)


def sines(n):
    """Episodes of 5 supports and 5 queries of a sine of its own phase and amplitude."""
    x, phase = RNG.uniform(-3, 3, (2, n, 5, 1)), RNG.uniform(0, 3, (n, 1, 1))
    amplitude = RNG.uniform(0.5, 2, (n, 1, 1))
    support, query = ({"x": x[i], "y": amplitude * np.sin(x[i] + phase)} for i in (0, 1))
    return {"support": support, "query": query}


EPISODES = sines(32)
MIXTURE = {"x": np.where(RNG.random(64) < 0.5, -1, 1)[:, None] + 0.1 * RNG.normal(size=(64, 1))}
NOISE = RNG.normal(size=(64, 2))
# name: a function of the rate, data and sampler, the loss in a part of a state, that part
SKETCHES = {
    "gan": (
        gan,
        (MIXTURE, sampling.epochs(16)),
        lambda state: training.full_loss(generator_loss, state, MIXTURE | {"noise": NOISE}),
        lambda state: state.generator.params,
    ),
    "policy gradient": (
        policy_gradient,
        (),
        lambda state: lambda params: episode_loss(params, KEY)[0],
        lambda state: state.params,
    ),
    "maml": (
        maml,
        (EPISODES, sampling.epochs(8)),
        lambda state: training.full_loss(maml(), state, EPISODES),
        lambda state: state.params,
    ),
    "seq2seq": (
        seq2seq,
        (PAIRS, sampling.epochs(32)),
        lambda state: training.full_loss(seq2seq(), state, PAIRS),
        lambda state: state.params,
    ),
}
every = pytest.mark.parametrize("name", SKETCHES)
# a recurrent network takes long to compile
each = pytest.mark.parametrize(
    "name", [*list(SKETCHES)[:-1], pytest.param("seq2seq", marks=pytest.mark.slow)]
)


def assert_same(a, b):
    """To the bit, NaN included."""
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.mark.slow
@every
def test_a_run_goes_on_from_its_checkpoint_to_the_bit(name, tmp_path):
    make, source, _, part = SKETCHES[name]
    kept = training.snapshots(of=part)
    hooks = [training.checkpoint(tmp_path / "run"), kept]
    whole = training.fit(make(), *source, key=KEY, steps=6, chunk=3, hooks=hooks)
    state = training.restore(tmp_path / "run", make().init(KEY), step=3)
    rest = training.fit(make(), *source, key=KEY, steps=3, chunk=1, state=state)
    assert_same(rest.state, whole.state)
    assert_same(rest.history, {name: values[3:] for name, values in whole.history.items()})
    assert kept.steps == [3, 6]
    assert_same(jax.tree.map(lambda leaf: leaf[1], kept.params), part(whole.state))


@pytest.mark.slow
@each
def test_lanes_are_single_runs(name):
    make, source, _, _ = SKETCHES[name]
    keys = jax.random.split(KEY)
    rates = {"rate": np.float32([1e-3, 1e-2])}
    many = training.fit_many(make, *source, keys=keys, hyperparameters=rates, steps=3, chunk=3)
    one = training.fit(make(rate=1e-2), *source, key=keys[1], steps=3, chunk=3)
    close = lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, (many.state, many.history), (one.state, one.history))


@pytest.mark.slow
@each
def test_the_curvature_of_a_part_of_the_state_is_seen(name):
    """The Hessian of the loss in that part, against a second difference along a direction."""
    make, _, loss_at, part = SKETCHES[name]
    state = make().init(KEY)
    loss, params = loss_at(state), part(state)
    theta, unravel = jax.flatten_util.ravel_pytree(params)
    direction = RNG.normal(size=theta.shape).astype(np.float32) / theta.size**0.5
    gradient = jax.jit(lambda t: jax.grad(lambda v: loss(unravel(v)))(theta + t * direction))
    expected = (gradient(0.01) - gradient(-0.01)) / 0.02
    products = landscape.hessian(loss, params).matvec(jnp.asarray(direction))
    np.testing.assert_allclose(products, expected, atol=1e-2 * float(abs(expected).max()))


@pytest.mark.parametrize(
    "name",
    [name if name == "policy gradient" else pytest.param(name, marks=pytest.mark.slow)
     for name in SKETCHES],
)  # fmt: skip
def test_a_page_shows_the_run_and_the_part(name, tmp_path):
    """A curve for each metric, then the curvature, each with its verdict."""
    make, source, loss_at, part = SKETCHES[name]
    run = training.fit(make(), *source, key=KEY, steps=6, chunk=3)
    operator = landscape.hessian(loss_at(run.state), part(run.state))
    pairs = landscape.eigenpairs(operator, top=1, tolerance=1e-2)
    page = report.write([run, pairs], tmp_path / "page.html", title=f"A {name}").read_text()
    assert f"<h1>A {name}</h1>" in page
    assert page.count("<svg") == len(run.history) + len(finding(pairs).figures)
    for shown in (run, pairs):
        assert html.escape(finding(shown).verdict) in page
    for metric, values in run.history.items():
        first, *_, last = np.repeat(values[np.isfinite(values)], 2)
        assert f"{metric} {first:.4g} → {last:.4g}" in page


def test_what_is_evaluated_may_be_made_of_several_networks():
    """How often the critic takes a forged number for real, by hand."""
    state = gan().init(KEY)

    def judged(state, batch):
        forged = GENERATOR.apply(state.generator.params, {}, batch["x"])[0]
        return CRITIC.apply(state.critic.params, {}, forged)[0]

    split = {"x": NOISE, "y": np.ones((64, 1))}
    fooled = training.evaluate(judged, state, split, {"fooled": metrics.binary_accuracy})
    assert fooled["fooled"] == pytest.approx(float((judged(state, split) > 0).mean()))
    outputs = training.evaluate(GENERATOR, state.generator, {"x": NOISE}, {"mean": _mean_output})
    expected = GENERATOR.apply(state.generator.params, {}, NOISE)[0].mean()
    assert outputs["mean"] == pytest.approx(float(expected), rel=1e-5)


def _mean_output(outputs, batch):
    return outputs[:, 0]


@pytest.mark.slow
def test_maml_learns_to_adapt():
    """After one inner step on episodes it has not seen it is better than before training."""
    new, error = sines(64), {"error": of_query(losses.mse)}
    algorithm = maml(1e-2)
    before = training.evaluate(META, algorithm.init(KEY), new, error, **EPISODES_IN)
    run = training.fit(algorithm, EPISODES, sampling.epochs(16), key=KEY, steps=150)
    after = training.evaluate(META, run.state, new, error, **EPISODES_IN)
    assert after["error"] < 0.8 * before["error"]


def test_a_policy_learns_to_walk():
    """Always to the right pays 1 + … + 8 = 36; by chance 0."""
    run = training.fit(policy_gradient(0.1), key=KEY, steps=100)
    assert np.isnan(run.history["return"][::2]).all()
    assert run.history["return"][-1] > 30
    assert abs(run.history["return"][1]) < 15


@pytest.mark.slow
def test_sequences_of_any_length_are_reversed():
    """New ones too, and padding counts in neither loss nor accuracy."""
    train, new = sequences(2000), sequences(200)
    run = training.fit(seq2seq(), train, sampling.epochs(100), key=KEY, steps=1500)
    measures = {"accuracy": metrics.accuracy, "perplexity": metrics.perplexity()}
    options = {"inputs": teacher_forced}
    found = training.evaluate(REVERSER, run.state, new, measures, **options)
    assert found["accuracy"] > 0.97
    # the decoder is causal, so that what it is given after the end changes nothing before
    other = new | {"y": np.where(new["mask"], new["y"], 3)}
    padded = training.evaluate(REVERSER, run.state, other, measures, **options)
    assert padded == pytest.approx(found, rel=1e-5)
    assert 1 < found["perplexity"] < 1.2
