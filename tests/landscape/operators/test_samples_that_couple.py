"""Samples that couple: random programs over rows, and the check that every dense matrix passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxml import landscape, nn, training
from jaxml.landscape.operators.dense_hessian import dense_hessian, plan_dense
from jaxml.landscape.operators.validation import check_problem
from jaxml.training import losses, optimizers

N, WIDTH = 6, 4
CONSTANT = np.random.default_rng(7).normal(size=(N, WIDTH))
GROUPS = np.array([0, 1, 0, 2, 1, 0])
ORDER = np.array([1, 0, 3, 2, 5, 4])


@pytest.fixture(autouse=True)
def _compiled_quickly():
    """Hundreds of programs run once each."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def normalized(h):
    h = h - h.mean(axis=-1, keepdims=True)
    return h / jnp.sqrt((h**2).mean(axis=-1, keepdims=True) + 0.1)


def heads(h):
    h = h.reshape(-1, 2, WIDTH // 2)
    h = jax.nn.softmax(h @ jnp.swapaxes(h, 1, 2)) @ h
    return h.reshape(-1, WIDTH)


def recurrent(h):
    step = lambda state, column: (jnp.tanh(0.5 * state + column[:, None]), column)  # noqa: E731
    return jax.lax.scan(step, jnp.zeros_like(h), h.T)[0] + h


def kernel(h):
    """Distances to a constant array that has as many rows as there are examples."""
    squares = ((h[:, None] - CONSTANT[None]) ** 2).sum(axis=-1)
    return h + jnp.exp(-squares) @ CONSTANT


def until_small(h):
    shrink = lambda row: jax.lax.fori_loop(0, 2, lambda _, r: 0.5 * jnp.sin(r) + r, row)  # noqa: E731
    return jax.vmap(shrink)(h)


def first_set(h):
    return h.at[:, 0].set(1.0)


# (h, batch) -> h, each row from its own
APART = {
    "tanh": lambda h, b: jnp.tanh(h),
    "relu": lambda h, b: jax.nn.relu(h),
    "gelu": lambda h, b: jax.nn.gelu(h),
    "softplus": lambda h, b: jax.nn.softplus(h),
    "swish": lambda h, b: jax.nn.swish(h),
    "layer norm": lambda h, b: normalized(h),
    "gated": lambda h, b: h * jax.nn.sigmoid(h[:, ::-1]),
    "mask": lambda h, b: h * b["gate"],
    "dropout": lambda h, b: jnp.where(b["gate"] > 0, jnp.tanh(h) / 0.8, 0),
    "offset": lambda h, b: jnp.tanh(h) + CONSTANT,
    "masked mean of data": lambda h, b: jnp.sin(h) * b["gate"] / b["gate"].sum(),
    "attention in a row": lambda h, b: heads(h),
    "recurrent": lambda h, b: recurrent(h),
    "kernel": lambda h, b: kernel(h),
    "loop": lambda h, b: until_small(h),
    "map": lambda h, b: jax.lax.map(lambda row: jnp.tanh(row) * row.sum(), h),
    "cumsum in a row": lambda h, b: jnp.tanh(jnp.cumsum(h, axis=1)),
    "sort in a row": lambda h, b: jnp.sin(jnp.sort(h, axis=-1)),
    "set": lambda h, b: jnp.tanh(first_set(h)),
    "two branches": lambda h, b: jnp.concatenate([jnp.tanh(h[:, :2]), jnp.sin(h[:, 2:])], axis=1),
    "remat": lambda h, b: jax.checkpoint(lambda h: jnp.tanh(h) ** 2)(h),
    "padded": lambda h, b: jnp.tanh(jnp.pad(h, ((0, 0), (1, 0)))[:, :WIDTH]),
}
# each row also from others
TOGETHER = {
    "centred": lambda h, b: h - h.mean(axis=0),
    "batch norm": lambda h, b: (h - h.mean(axis=0)) / jnp.sqrt(h.var(axis=0) + 0.1),
    "cumsum": lambda h, b: jnp.tanh(h) + jnp.cumsum(jnp.sin(h)[::-1], axis=0)[::-1],
    "associative scan": lambda h, b: jax.lax.associative_scan(jnp.add, jnp.tanh(h)),
    "reversed": lambda h, b: jnp.tanh(h) * h[::-1],
    "rolled": lambda h, b: jnp.tanh(h) + jnp.roll(h, 1, axis=0) ** 2,
    "last row": lambda h, b: jnp.tanh(h) * jnp.sin(h[-1]),
    "closed gate": lambda h, b: jnp.tanh(h) + jax.nn.relu(h[-1].sum() - 1e3) * h,
    "softmax over rows": lambda h, b: h + jax.nn.softmax(h, axis=0),
    "attention": lambda h, b: h + jax.nn.softmax(h @ h.T) @ jnp.tanh(h),
    "contrastive": lambda h, b: jnp.tanh(h) - jax.nn.logsumexp(h @ h.T, axis=1)[:, None],
    "largest": lambda h, b: jnp.tanh(h) / (1 + h.max() ** 2),
    "masked sum": lambda h, b: jnp.tanh(h) + (h * b["gate"]).sum(axis=0) / b["gate"].sum(),
    "sorted": lambda h, b: jnp.tanh(h) * jnp.sort(h, axis=0),
    "groups": lambda h, b: h + jax.ops.segment_sum(jnp.sin(h), b["group"], 3)[b["group"]],
    "permuted": lambda h, b: jnp.tanh(h) * h[ORDER],
    "codebook": lambda h, b: h + jax.nn.softmax(CONSTANT @ (CONSTANT.T @ jnp.tanh(h))),
    "branch": lambda h, b: jax.lax.cond(h.sum() > 0, jnp.tanh, jnp.sin, h),
    "trips": lambda h, b: jax.lax.fori_loop(0, 2, lambda _, h: jnp.tanh(h) + h.mean(0), h),
    "convolved": lambda h, b: h + jnp.convolve(jnp.sin(h[:, 0]), jnp.ones(3), "same")[:, None],
    "flat": lambda h, b: jnp.tanh(h) + jnp.sin(h).reshape(-1, N).T[:, :1],
}
WAYS = ("bias", "plain", "transposed", "residual", "of the left")


def dense(way, p, h):
    if way == "transposed":
        return h @ p["w"].T + p["b"]
    if way == "of the left":
        return (p["w"] @ h.T).T
    z = h @ p["w"]
    return z if way == "plain" else z + p["b"] if way == "bias" else h + z


def by_hand(outputs, batch):
    return -jax.nn.log_softmax(outputs)[jnp.arange(N), batch["y"]]


VALUES = {
    "softmax": losses.softmax_cross_entropy,
    "softmax by hand": by_hand,
    "mse": lambda z, b: losses.mse(z, {"y": b["target"]}),
    "sigmoid": lambda z, b: losses.sigmoid_cross_entropy(z, {"y": b["gate"]}),
    "masked": lambda z, b: ((z - b["target"]) ** 2 * b["gate"]).sum(axis=1) / b["gate"].sum(),
}


def program(seed):
    """A loss, its point, and whether its samples couple."""
    random = np.random.default_rng(seed)
    choose = lambda names: names[random.integers(len(names))]  # noqa: E731
    couples = bool(seed % 2)
    pieces = [(choose(WAYS), APART[choose([*APART])]) for _ in range(random.integers(1, 3))]
    if couples:
        where = random.integers(len(pieces))
        # in turn, so that every one is tried
        pieces[where] = pieces[where][0], [*TOGETHER.values()][seed // 2 % len(TOGETHER)]
    else:
        pieces[0] = pieces[0][0], [*APART.values()][seed // 2 % len(APART)]
    last = choose(("bias", "plain"))
    shapes = {"w": (WIDTH, WIDTH), "b": (WIDTH,)}
    params = [
        {k: jnp.asarray(0.7 * random.normal(size=shape)) for k, shape in shapes.items()}
        for _ in (*pieces, last)
    ]
    batch = {
        "x": random.normal(size=(N, WIDTH)),
        "y": random.integers(WIDTH, size=N),
        "target": random.normal(size=(N, WIDTH)),
        "gate": random.integers(2, size=(N, WIDTH)).astype(float),
        "group": GROUPS,
    }
    if random.integers(2):
        batch["weights"] = random.integers(3, size=N).astype(float)
        batch["weights"][0] = 1

    def predict(params, batch):
        h = batch["x"]
        for p, (way, piece) in zip(params, pieces, strict=False):
            h = piece(dense(way, p, h), batch)
        return dense(last, params[-1], h)

    reduction = choose(("mean", "sum"))
    values = VALUES[choose([*VALUES])]
    return landscape.data_loss(predict, values, batch, reduction=reduction), params, couples


def error(seed):
    """Of the matrix against `jax.hessian`, relative; and of its check; and whether it is right."""
    loss, params, couples = program(seed)
    x, unravel = ravel_pytree(params)
    truth = jax.jit(jax.hessian(lambda v: loss(unravel(v))))(x)
    read, params = check_problem(loss, params, float64=True)
    plan = plan_dense(read, params)
    assert (len(plan.layers) == 0) == couples, seed
    matrix, found = jax.jit(dense_hessian, static_argnames="plan")(read, params, plan=plan)
    return float(abs(matrix - truth).max() / abs(truth).max()), float(found)


@pytest.mark.slow
def test_random_programs(x64):
    found = [error(seed) for seed in range(3)]
    assert max(matrix for matrix, _ in found) < 1e-10
    assert max(check for _, check in found) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("first", range(12, 212, 25))
def test_two_hundred_random_programs(x64, first):
    found = [error(seed) for seed in range(first, first + 25)]
    jax.clear_caches()  # Linux has 65,530 memory mappings for a process
    assert max(matrix for matrix, _ in found) < 1e-10
    assert max(check for _, check in found) < 0.1


def cox(w, batch):
    """The partial likelihood's logarithm of proportional hazards, rows in order of their times."""
    risk = jnp.tanh(batch["x"] @ w).sum(axis=1)
    return risk - jnp.log(jnp.cumsum(jnp.exp(risk)[::-1])[::-1])


def negative(outputs, batch):
    return -outputs


X = np.random.default_rng(0).normal(size=(40, 3))
W = np.random.default_rng(1).normal(size=(3, 2))


def hessian_of(loss, w):
    return jax.jit(jax.hessian(lambda v: loss(v.reshape(w.shape))))(jnp.asarray(w.ravel()))


@pytest.mark.slow
def test_a_cox_likelihood_is_the_same_everywhere(x64):
    loss = landscape.data_loss(cox, negative, {"x": X})
    truth = np.linalg.eigvalsh(hessian_of(loss, W))
    # by central differences of the gradient, written out without jaxml
    opaque = lambda w: -cox(w, {"x": X}).mean()  # noqa: E731
    steps = [e.reshape(W.shape) for e in 1e-5 * np.eye(W.size)]
    slopes = [(jax.grad(opaque)(W + e) - jax.grad(opaque)(W - e)).ravel() / 2e-5 for e in steps]
    np.testing.assert_allclose(truth, np.linalg.eigvalsh(np.stack(slopes)), atol=1e-8)
    dense = landscape.hessian(loss, W).dense()
    np.testing.assert_allclose(np.linalg.eigvalsh(dense), truth, atol=1e-13)
    point = landscape.analyze(loss, W)
    np.testing.assert_allclose(point.eigenvalues, truth, atol=1e-13)
    assert point.counts.negative == (truth < 0).sum()
    whole, bounded = (landscape.gauss_newton(loss, W, memory=m) for m in (None, 10_000))
    np.testing.assert_allclose(bounded.matvec(np.ones(6)), whole.matvec(np.ones(6)), atol=1e-13)
    bounded = landscape.hessian(loss, W, memory=10_000)
    np.testing.assert_allclose(bounded.matvec(np.ones(6)), dense @ np.ones(6), atol=1e-13)


@jax.custom_jvp
def looks_apart(h):
    return h


@looks_apart.defjvp
def _mixes(primals, tangents):
    """A derivative rule that does as its function does not."""
    (h,), (tangent,) = primals, tangents
    return looks_apart(h), tangent - tangent.mean(axis=0)


def mixed_by_its_rule():
    predict = lambda w, batch: jnp.tanh(looks_apart(jnp.tanh(batch["x"] @ w)))  # noqa: E731
    return landscape.data_loss(predict, losses.mse, {"x": X, "y": np.ones((40, 2))})


@pytest.mark.slow
def test_a_matrix_that_fails_its_check_is_formed_again(x64):
    loss = mixed_by_its_rule()
    truth = hessian_of(loss, W)
    with pytest.warns(RuntimeWarning, match="differs from its product with a random vector"):
        dense = landscape.hessian(loss, W).dense()
    np.testing.assert_allclose(dense, truth, atol=1e-13)
    spectrum = np.linalg.eigvalsh(truth)
    with pytest.warns(RuntimeWarning, match="random vector"):
        followed = landscape.follow(loss, np.stack([0 * W, W]))
    np.testing.assert_allclose(followed.eigenvalues[1], spectrum, atol=1e-13)


@pytest.mark.slow
def test_a_search_and_an_analysis_by_matrices_that_fail_their_check(x64):
    loss = mixed_by_its_rule()
    with pytest.warns(RuntimeWarning, match="random vector"):
        point = landscape.analyze(loss, W)
    np.testing.assert_allclose(
        point.eigenvalues, np.linalg.eigvalsh(hessian_of(loss, W)), atol=1e-13
    )
    with pytest.warns(RuntimeWarning, match="random vector"):
        found = landscape.find_critical_point(loss, W, max_steps=3)
    opaque = landscape.find_critical_point(lambda w: 1.0 * loss(w), W, max_steps=3)
    np.testing.assert_allclose(found.params, opaque.params, atol=1e-10)
    # nothing can be formed again in a program that somebody else maps
    search = lambda w: landscape.find_critical_point(loss, w, max_steps=3)  # noqa: E731
    mapped = jax.vmap(search)(jnp.stack([W, W]))
    assert not mapped.converged.any()
    np.testing.assert_array_equal(mapped.params[0], W)


def test_a_loss_that_is_nowhere_finite_has_no_word_about_samples(x64):
    """NaN in all matrices; warnings are errors here."""
    loss = landscape.data_loss(lambda w, b: jnp.log(-1 - (b["x"] @ w) ** 2), losses.mse, {
        "x": X, "y": np.ones((40, 2)),
    })  # fmt: skip
    assert np.isnan(landscape.hessian(loss, W).dense()).all()


@jax.custom_vjp
def own_tanh(x):
    return jnp.tanh(x)


own_tanh.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g * (1 - jnp.tanh(x) ** 2),))


OFFSET = np.random.default_rng(2).normal(size=(40, 2))
# name -> a network of one weight, and how many layers its matrix products are of
ONCE_WRONG = {
    "custom_vjp": (lambda w, b: own_tanh(b["x"] @ w), 0),
    "offset": (lambda w, b: jnp.exp(b["x"] @ w + OFFSET), 1),
    "inducing points": (lambda w, b: jnp.sin(b["x"] @ X.T) @ jnp.tanh(np.cos(X) @ w), 0),
    "data in whole": (lambda w, b: jnp.tanh((b["x"] - b["x"].mean(axis=0)) @ w), 1),
}


@pytest.mark.parametrize("name", ONCE_WRONG)
def test_what_once_ended_in_an_error_or_a_wrong_matrix(x64, name):
    predict, layers = ONCE_WRONG[name]
    loss = landscape.data_loss(predict, losses.mse, {"x": X, "y": OFFSET})
    dense = landscape.hessian(loss, W).dense()
    np.testing.assert_allclose(dense, hessian_of(loss, W), rtol=1e-11, atol=1e-12)
    read, params = check_problem(loss, W, float64=True)
    assert len(plan_dense(read, params).layers) == layers


def centred(w, batch):
    h = jnp.tanh(batch["x"] @ w)
    return h - h.mean(axis=0)


SLICED = np.linspace(0, 1, 40)
REFUSED = {
    "cox": (cox, "rows that rev mixes"),
    "centred": (centred, "rows that reduce_sum mixes"),
    "array of all rows": (
        lambda w, b: jnp.tanh(b["x"] @ w) + SLICED[:, None],
        "incompatible shapes",
    ),
    "place": (
        lambda w, b: jnp.tanh(b["x"] @ w) * SLICED[: len(b["x"]), None],
        "rows that depend on their place",
    ),
    "number of rows": (lambda w, b: jnp.tanh(b["x"] @ w) / len(b["x"]), "other values from fewer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_batches_that_make_another_loss_are_refused(x64, name):
    predict, got = REFUSED[name]
    values = lambda outputs, batch: outputs.reshape(len(outputs), -1).sum(axis=1) ** 2  # noqa: E731
    loss = landscape.data_loss(predict, values, {"x": X}, batch_size=8)
    for function in (landscape.hessian, landscape.gauss_newton, landscape.sharpness):
        with pytest.raises(ValueError, match=rf"(?s)rows.*can be taken.*{got}"):
            function(loss, W)
    if name != "number of rows":
        with pytest.raises(ValueError, match=got):
            loss(W)


def test_rows_are_not_taken_apart_for_memory_where_that_is_another_loss(x64):
    data = {"x": np.tile(X, (8, 1)), "y": np.ones((320, 2))}
    apart = landscape.data_loss(lambda w, b: jnp.tanh(b["x"] @ w), losses.mse, data)
    together = landscape.data_loss(centred, losses.mse, data)
    plan = plan_dense(*check_problem(apart, W, float64=True), memory=30_000)
    assert plan.batch_size is not None
    with pytest.raises(ValueError, match="memory for the dense matrix"):
        landscape.hessian(together, W, memory=30_000).dense()


def test_a_value_of_its_own_gradient_depends_on_its_outputs_alone(x64):
    values = lambda outputs, batch: -outputs[:, 0] + jax.nn.logsumexp(outputs[:, 0])  # noqa: E731
    loss = landscape.data_loss(lambda w, b: jnp.tanh(b["x"] @ w), values, {"x": X})
    with pytest.raises(ValueError, match="one example's outputs, got a reduce_max over several"):
        landscape.fisher(loss, W, kind="empirical")
    landscape.gauss_newton(loss, W)


@pytest.mark.slow
def test_batch_norm_in_training_is_by_the_statistics_of_each_batch(x64):
    model = nn.mlp([3, 4, 2], activation="tanh", norm="batch")
    algorithm = training.supervised(model, losses.mse, optimizers.sgd(0.1))
    state = algorithm.init(jax.random.key(0))
    data = {"x": X, "y": np.ones((40, 2))}
    params = jax.tree.map(lambda leaf: leaf.astype(float), state.params)
    whole, halves = (
        training.full_loss(algorithm, state, data, train=True, batch_size=size)
        for size in (None, 20)
    )
    parts = [{k: v[i : i + 20] for k, v in data.items()} for i in (0, 20)]
    by_hand = [training.full_loss(algorithm, state, part, train=True)(params) for part in parts]
    assert float(halves(params)) == pytest.approx(np.mean(by_hand), rel=1e-12)
    assert float(whole(params)) != pytest.approx(float(halves(params)), rel=1e-6)
