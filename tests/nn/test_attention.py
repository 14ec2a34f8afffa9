"""Attention against NumPy's, PyTorch's and SciPy's, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn
from jaxml.nn import attention


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def qkv(n=7, m=7, d=4, e=3, heads=2):
    return (normal(heads, size, width, seed=i) for i, (size, width) in enumerate(
        ((n, d), (m, d), (m, e))
    ))  # fmt: skip


def by_hand(q, k, v, seen=None):
    """A loop over heads and queries."""
    q, k, v = (np.asarray(x) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for place in np.ndindex(q.shape[:-1]):
        head, i = place[:-1], place[-1]
        allowed = np.ones(k.shape[-2], bool) if seen is None else np.asarray(seen)[i]
        if allowed.any():
            raised = np.exp(k[head][allowed] @ q[place] / np.sqrt(q.shape[-1]))
            out[place] = raised / raised.sum() @ v[head][allowed]
    return out


@pytest.mark.slow
def test_dot_products_against_a_loop():
    q, k, v = qkv(n=5)
    np.testing.assert_allclose(attention.softmax_attention(q, k, v), by_hand(q, k, v), rtol=1e-12)


@pytest.mark.slow
def test_additive_scores_against_a_loop():
    q, k = normal(5, 4), normal(6, 3, seed=1)
    w_q, w_k, w = normal(4, 8, seed=2), normal(3, 8, seed=3), normal(8, seed=4)
    known = [[np.tanh(a @ w_q + b @ w_k) @ w for b in np.asarray(k)] for a in np.asarray(q)]
    np.testing.assert_allclose(attention.additive_scores(q, k, w_q, w_k, w), known, rtol=1e-12)


@pytest.mark.oracle
def test_equals_pytorch():
    torch = pytest.importorskip("torch")
    q, k, v = qkv()
    seen = attention.causal_mask(7)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *(torch.tensor(np.asarray(x)) for x in (q, k, v)), attn_mask=torch.tensor(np.asarray(seen))
    )
    np.testing.assert_allclose(attention.softmax_attention(q, k, v, mask=seen), theirs, rtol=1e-12)


def test_who_sees_nothing_takes_nothing_and_has_a_gradient():
    q, k, v = qkv()
    seen = attention.causal_mask(7).at[3].set(False)

    def total(q, k, v):
        return attention.softmax_attention(q, k, v, mask=seen).sum()

    np.testing.assert_array_equal(attention.softmax_attention(q, k, v, mask=seen)[:, 3], 0)
    gradients = jax.grad(total, (0, 1, 2))(q, k, v)
    assert all(np.isfinite(g).all() for g in gradients)
    np.testing.assert_array_equal(gradients[0][:, 3], 0)


def test_large_scores_overflow_nowhere():
    scores = jnp.array([[1e4, 0.0, -1e4]])
    seen = jnp.array([[False, True, True]])
    np.testing.assert_array_equal(attention.attention_weights(scores, seen), [[0, 1, 0]])


MASKS = {
    "causal": (attention.causal_mask(7), lambda i, j: j <= i),
    "window": (attention.window_mask(7, 5), lambda i, j: abs(i - j) <= 2),
    "stride": (attention.stride_mask(7, 3), lambda i, j: (i - j) % 3 == 0),
    "global": (attention.global_mask(7, 2), lambda i, j: i < 2 or j < 2),
    "padding": (attention.padding_mask(jnp.int32(4), 7)[0], lambda i, j: j < 4),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(name):
    mask, seen = MASKS[name]
    known = np.array([[seen(i, j) for j in range(7)] for i in range(7)])
    np.testing.assert_array_equal(np.broadcast_to(mask, (7, 7)), known)
    q, k, v = qkv()
    found = attention.softmax_attention(q, k, v, mask=mask)
    np.testing.assert_allclose(found, by_hand(q, k, v, known), rtol=1e-12)


@pytest.mark.slow
def test_what_is_hidden_changes_nothing():
    q, k, v = qkv()
    seen = attention.padding_mask(jnp.array([4]), 7)[0]
    other = k.at[:, 4:].set(100.0), v.at[:, 4:].set(-100.0)
    for function in (
        attention.softmax_attention,
        attention.linear_attention,
        lambda q, k, v, mask: attention.local_attention(q, k, v, mask=mask, window=5),
        lambda q, k, v, mask: attention.linformer_attention(
            q, k, v, mask=mask, mix_keys=normal(3, 7, seed=8), mix_values=normal(3, 7, seed=9)
        ),
    ):
        np.testing.assert_array_equal(function(q, k, v, mask=seen), function(q, *other, mask=seen))


def test_random_blocks_are_others_and_different():
    chosen = np.asarray(attention.random_blocks(jax.random.key(0), 40, 4, 3))
    assert chosen.shape == (10, 3)
    for i, row in enumerate(chosen):
        assert len({i, *row}) == 4
    again = attention.random_blocks(jax.random.key(1), 40, 4, 3)
    assert (chosen != np.asarray(again)).any()
    mask = attention.block_mask(chosen, 40, 4)
    np.testing.assert_array_equal(mask.sum(1), 12)


# positions


def test_without_positions_order_does_not_matter():
    x, order = normal(7, 4), jax.random.permutation(jax.random.key(1), 7)

    def f(x):
        return attention.softmax_attention(x, x, x)

    np.testing.assert_allclose(f(x[order]), f(x)[order], rtol=1e-12)
    placed = x + attention.sinusoidal_positions(jnp.arange(7), 4)
    moved = x[order] + attention.sinusoidal_positions(jnp.arange(7), 4)
    assert abs(f(moved) - f(placed)[order]).max() > 0.1


def test_a_shift_rotates_the_sinusoid():
    first = attention.sinusoidal_positions(jnp.arange(9), 6)
    later = attention.sinusoidal_positions(jnp.arange(9) + 5, 6)
    for pair in range(3):
        angle = 5 / 10_000 ** (2 * pair / 6)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        columns = slice(2 * pair, 2 * pair + 2)
        np.testing.assert_allclose(later[:, columns], first[:, columns] @ turn.T, atol=1e-12)


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = normal(1, 6), normal(1, 6, seed=1)

    def score(m, n):
        return (attention.rotate(q, jnp.array([m])) @ attention.rotate(k, jnp.array([n])).T).item()

    assert score(3, 10) == pytest.approx(score(103, 110), rel=1e-10)
    assert abs(score(3, 10) - score(3, 11)) > 1e-3
    turned = attention.rotate(q, jnp.array([7.0]))
    assert jnp.linalg.norm(turned) == pytest.approx(float(jnp.linalg.norm(q)), rel=1e-12)


def test_relative_bias_is_clipped():
    table = normal(2, 5)
    bias = attention.relative_bias(table, 6, 7)
    for i in range(6):
        for j in range(7):
            np.testing.assert_array_equal(bias[:, i, j], table[:, np.clip(j - i, -2, 2) + 2])


# convolution


def convolution(images, kernel):
    return nn.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [46.0, 10.0])
def test_attention_is_a_convolution(sharpness):
    images, kernel = normal(2, 6, 7, 3), normal(3, 3, 3, 4, seed=1)
    known = convolution(images, kernel)
    # four neighbours at distance 1, each e^-α of the pixel itself, and others further off
    leaked = 5 * np.exp(-sharpness) * abs(kernel).sum((0, 1, 2)).max() * 2 * abs(images).max()
    off = max(leaked, 1e-12)
    found = attention.convolution_by_attention(images, kernel, sharpness=sharpness)
    assert abs(found - known).max() < off
    if sharpness == 10:
        assert abs(found - known).max() > off / 50
    bare = attention.convolution_by_attention(images, kernel, sharpness=sharpness, ring=False)
    assert abs(bare - known)[:, 1:-1, 1:-1].max() < off
    assert abs(bare - known).max() > 0.5  # at the border it takes the border for the zeros


# variants


@pytest.mark.parametrize("window", [1, 3, 7, 13, 33])
@pytest.mark.parametrize("causal", [False, True])
def test_a_window_is_the_masked_softmax(window, causal):
    q, k, v = qkv(n=11, m=11)
    seen = attention.window_mask(11, window)
    seen &= attention.causal_mask(11) if causal else True
    found = attention.local_attention(q, k, v, window=window, causal=causal)
    known = attention.softmax_attention(q, k, v, mask=seen)
    np.testing.assert_allclose(found, known, rtol=1e-10)
    if window == 33 and not causal:
        np.testing.assert_allclose(found, attention.softmax_attention(q, k, v), rtol=1e-10)


def test_linear_attention_is_its_own_scores():
    q, k, v = qkv()
    features = attention.elu_features
    scores = features(q) @ jnp.swapaxes(features(k), -1, -2)
    for seen in (jnp.ones((7, 7)), jnp.tri(7)):
        weights = scores * seen / (scores * seen).sum(-1, keepdims=True)
        found = attention.linear_attention(q, k, v, causal=bool(seen[0, 1] == 0))
        np.testing.assert_allclose(found, weights @ v, rtol=1e-12, atol=1e-14)


def test_identity_mixtures_are_softmax_attention():
    q, k, v = qkv(n=5)
    same = jnp.eye(7)
    found = attention.linformer_attention(q, k, v, mix_keys=same, mix_values=same)
    np.testing.assert_allclose(found, attention.softmax_attention(q, k, v), rtol=1e-12)


@pytest.mark.slow
def test_random_features_are_unbiased_and_their_error_falls():
    x, y = 0.3 * normal(4), 0.3 * normal(4, seed=1)
    known = float(jnp.exp(x @ y))

    def estimate(key, count):
        directions = attention.orthogonal_features(key, count, 4)
        return attention.softmax_features(x, directions) @ attention.softmax_features(y, directions)

    deviation = {}
    for count in (16, 256):
        keys = jax.random.split(jax.random.key(2), 4000)
        estimates = jax.jit(jax.vmap(lambda key, c=count: estimate(key, c)))(keys)
        deviation[count] = float(estimates.std())
        assert abs(estimates.mean() - known) < 4 * deviation[count] / 4000**0.5
    assert deviation[16] / deviation[256] == pytest.approx(4, rel=0.15)


@pytest.mark.slow
def test_a_performer_comes_near_softmax_attention():
    q, k, v = qkv()
    q, k = q / 2, k / 2
    directions = attention.orthogonal_features(jax.random.key(0), 20_000, 4)
    found = attention.performer_attention(q, k, v, directions=directions)
    np.testing.assert_allclose(found, attention.softmax_attention(q, k, v), atol=0.02)
    large = attention.performer_attention(30 * q, 30 * k, v, directions=directions[:64])
    assert np.isfinite(large).all()


def test_fourier_mixing_is_numpy_s():
    x = normal(3, 5, 4)
    np.testing.assert_allclose(attention.fourier_mixing(x), np.fft.fft2(x).real, atol=1e-12)
    seen = jnp.arange(5) < 3
    short = np.asarray(x * seen[:, None])
    np.testing.assert_allclose(
        attention.fourier_mixing(x, mask=seen), np.fft.fft2(short).real, atol=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "factor"),
    [
        (attention.softmax_attention, 4),
        (attention.linear_attention, 2),
        (lambda q, k, v: attention.local_attention(q, k, v, window=65), 2),
    ],
    ids=["softmax", "linear", "local"],
)
def test_memory_of_the_gradient(function, factor):
    def temporaries(n):
        x = jax.ShapeDtypeStruct((4, n, 16), jnp.float32)
        gradient = jax.jit(jax.grad(lambda q, k, v: function(q, k, v).sum(), (0, 1, 2)))
        return gradient.lower(x, x, x).compile().memory_analysis().temp_size_in_bytes

    sizes = [temporaries(n) for n in (512, 1024, 2048)]
    for small, large in itertools.pairwise(sizes):
        assert large / small == pytest.approx(factor, rel=0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: attention.causal_mask(0), "size .* got 0"),
        (lambda: attention.window_mask(5, 4), "an odd window, got 4"),
        (lambda: attention.padding_mask(jnp.array([0]), 5), "lengths from 1 to 5, got 0 to 0"),
        (lambda: attention.padding_mask(jnp.array([6]), 5), "lengths from 1 to 5, got 6 to 6"),
        (lambda: attention.padding_mask(jnp.array([2.5]), 5), "whole lengths, got dtype float64"),
        (lambda: attention.global_mask(5, 6), "at most 5 positions that see all, got 6"),
        (lambda: attention.random_blocks(jax.random.key(0), 9, 2, 1), "divides the 9 positions"),
        (lambda: attention.random_blocks(jax.random.key(0), 9, 3, 3), "fewer than the 3 blocks"),
        (lambda: attention.sinusoidal_positions(jnp.arange(3), 5), "even width, got 5"),
        (lambda: attention.rotate(normal(2, 3), jnp.arange(2)), "even width, got 3"),
        (lambda: attention.relative_bias(normal(4), 2, 2), "odd number of distances, got 4"),
        (lambda: attention.dot_product_scores(normal(2, 3), normal(2, 4)), "width, got 3 and 4"),
        (lambda: attended(mask=jnp.ones((7, 7))), "boolean mask, got one of float64"),
        (lambda: attended(mask=jnp.ones((7, 6), bool)), r"broadcasts to \(2, 7, 7\), got .*7, 6"),
        (lambda: attended(mask=jnp.ones((1, 2, 7, 7), bool)), r"broadcasts to \(2, 7, 7\)"),
        (
            lambda: attention.linear_attention(*qkv(), mask=attention.causal_mask(7)),
            r"for linear attention a mask of shape \(..., 1, 7\), the same for every query",
        ),
        (
            lambda: attention.performer_attention(*qkv(), directions=normal(8, 3)),
            r"directions of shape \(f, 4\), got \(8, 3\)",
        ),
        (
            lambda: attention.linformer_attention(
                *qkv(), mix_keys=normal(3, 6), mix_values=normal(3, 7)
            ),
            r"mix_keys of shape \(r, 7\), got \(3, 6\)",
        ),
        (
            lambda: attention.convolution_by_attention(
                normal(1, 4, 4, 1), normal(2, 3, 1, 1), sharpness=1.0
            ),
            "odd numbers of rows and columns, got 2 by 3",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def attended(**options):
    return attention.softmax_attention(*qkv(), **options)
