"""Sampling on grids against PyTorch, SciPy and finite differences; networks that move images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxml import nn
from jaxml.core.types import Model

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(3, 5, 7, 2)), jnp.float32)
MATRICES = (np.eye(2, 3) + RNG.normal(size=(3, 2, 3)) / 3).astype(np.float32)


@pytest.mark.oracle
@pytest.mark.parametrize(("border", "mode"), [("zeros", "zeros"), ("edge", "border")])
def test_equals_pytorch(border, mode):
    torch = pytest.importorskip("torch")
    grid = nn.affine_grid(jnp.asarray(MATRICES), (6, 4))
    size = (3, 2, 6, 4)
    theirs = torch.nn.functional.affine_grid(torch.tensor(MATRICES), size, align_corners=False)
    np.testing.assert_allclose(grid, theirs.numpy(), atol=1e-6)
    read = torch.nn.functional.grid_sample(
        torch.tensor(np.asarray(IMAGES)).permute(0, 3, 1, 2),
        theirs,
        padding_mode=mode,
        align_corners=False,
    )
    ours = nn.grid_sample(IMAGES, grid, border=border)
    np.testing.assert_allclose(ours, read.permute(0, 2, 3, 1).numpy(), atol=1e-5)


@pytest.mark.parametrize(("border", "mode"), [("zeros", "constant"), ("edge", "nearest")])
def test_equals_scipy(border, mode):
    grid = np.asarray(nn.affine_grid(jnp.asarray(MATRICES), (6, 4)), np.float64)
    # a border of zeros one pixel wide: SciPy's "constant" cuts off half of the last pixel
    wide = 1 if mode == "constant" else 0
    padded = np.pad(IMAGES, ((0, 0), (wide, wide), (wide, wide), (0, 0)))
    rows = ((grid[..., 1] + 1) * 5 - 1) / 2 + wide
    columns = ((grid[..., 0] + 1) * 7 - 1) / 2 + wide
    expected = [
        [
            ndimage.map_coordinates(image[..., c], [y, x], order=1, mode=mode)
            for image, y, x in zip(padded, rows, columns, strict=True)
        ]
        for c in range(2)
    ]
    ours = nn.grid_sample(IMAGES, jnp.asarray(grid, jnp.float32), border=border)
    np.testing.assert_allclose(ours, np.moveaxis(np.array(expected), 0, -1), atol=1e-5)


def test_rows_and_columns_are_a_grid():
    y, x = jnp.asarray(RNG.uniform(-1.3, 1.3, (3, 4))), jnp.asarray(RNG.uniform(-1.3, 1.3, (3, 6)))
    grid = jnp.stack(
        [jnp.broadcast_to(x[:, None], (3, 4, 6)), jnp.broadcast_to(y[:, :, None], (3, 4, 6))], -1
    )
    for border in ("zeros", "edge"):
        ours = nn.resample(IMAGES, y, x, border=border)
        np.testing.assert_allclose(ours, nn.grid_sample(IMAGES, grid, border=border), atol=1e-5)


@pytest.mark.slow
def test_gradients_by_differences(x64):
    images = jnp.asarray(IMAGES, jnp.float64)
    weights = jnp.asarray(RNG.normal(size=(3, 5, 7, 2)))

    def value(images, matrices):
        return (nn.grid_sample(images, nn.affine_grid(matrices, (5, 7))) * weights).sum()

    at = images, jnp.asarray(MATRICES, jnp.float64)
    gradients = jax.grad(value, argnums=(0, 1))(*at)
    for i, gradient in enumerate(gradients):
        direction = jnp.asarray(RNG.normal(size=gradient.shape))
        step = 1e-6
        ahead, behind = (
            value(*(a + s * step * direction if i == j else a for j, a in enumerate(at)))
            for s in (1, -1)
        )
        slope = (ahead - behind) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.slow
def test_a_quarter_turn_moves_pixels():
    images = IMAGES[:, :, :5]
    quarter = nn.rotations(jnp.full(3, jnp.pi / 2), (5, 5))
    turned = nn.grid_sample(images, nn.affine_grid(quarter, (5, 5)))
    np.testing.assert_allclose(turned, np.rot90(images, axes=(1, 2)), atol=1e-5)
    # on an oblong image a right angle stays one: a half turn there is a half turn here
    half = nn.rotations(jnp.full(3, jnp.pi), (5, 7))
    turned = nn.grid_sample(IMAGES, nn.affine_grid(half, (5, 7)))
    np.testing.assert_allclose(turned, IMAGES[:, ::-1, ::-1], atol=1e-5)
    eighth = nn.rotations(jnp.full(1, jnp.pi / 4), (5, 7))[0, :, :2]
    pixels = np.diag([7 / 2, 5 / 2])  # of coordinates
    matrix = pixels @ np.asarray(eighth) @ np.linalg.inv(pixels)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(2), atol=1e-6)


POINT = jnp.zeros((3, 1))
SEEN = Model(lambda key, x=None: ({}, {}), lambda params, state, x, **_: (x, state))


@pytest.mark.slow
@pytest.mark.parametrize("transform", ["affine", "rotation", "attention"])
def test_a_transformer_starts_at_the_identity_and_moves_where_told(transform):
    model = nn.spatial_transformer(SEEN, (5, 7, 2), transform=transform, channels=(3,), hidden=(4,))
    params, state = model.init(jax.random.key(0))
    np.testing.assert_allclose(model.apply(params, state, IMAGES)[0], IMAGES, atol=1e-5)
    numbers = {
        "affine": MATRICES[0].ravel(),
        "rotation": [0.3],
        "attention": [0.5, 0.1, -0.2],
    }[transform]
    matrix = {
        "affine": MATRICES[:1],
        "rotation": nn.rotations(jnp.array([0.3]), (5, 7)),
        "attention": jnp.array([[[0.5, 0, 0.1], [0, 0.5, -0.2]]]),
    }[transform]
    moved = params | {"transform": params["transform"] | {"bias": jnp.asarray(numbers)}}
    grid = jnp.tile(nn.affine_grid(jnp.asarray(matrix), (5, 7)), (3, 1, 1, 1))
    expected = nn.grid_sample(IMAGES, grid)
    np.testing.assert_allclose(model.apply(moved, state, IMAGES)[0], expected, atol=1e-5)
    slopes = jax.grad(lambda p: (model.apply(p, state, IMAGES)[0] * IMAGES[::-1]).sum())(moved)
    assert float(jnp.abs(slopes["transform"]["kernel"]).max()) > 1e-3


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: nn.grid_sample(IMAGES, jnp.zeros((2, 1, 1, 2))), "a grid .* got .3, 5, 7, 2"),
        (
            lambda: nn.grid_sample(IMAGES, jnp.zeros((3, 1, 1, 2)), border="wrap"),
            "border .* 'wrap'",
        ),
        (
            lambda: nn.spatial_transformer(SEEN, (5, 7, 2), transform="shear"),
            "transform .* 'shear'",
        ),
        (lambda: nn.spatial_transformer(SEEN, (5, 7, 2), hidden=()), "hidden .* \\(\\)"),
        (lambda: nn.spatial_transformer(SEEN, (5, 7, 2), border="edges"), "border .* 'edges'"),
        (lambda: nn.go_policy(9, 17, layers=1), "two layers, .* got 1"),
    ],
)
def test_bad_input(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


@pytest.mark.slow
def test_go_policy_sees_the_board_whole():
    """Shifting the stones shifts the logits but for the board's edge and each point's bias."""
    model = nn.go_policy(9, 3, channels=4, layers=3)
    params, state = model.init(jax.random.key(0))
    x = np.zeros((2, 9, 9, 3), np.float32)
    x[0, 4, 4], x[1, 4, 5] = 1, 1
    logits = np.asarray(model.apply(params, state, x)[0]).reshape(2, 9, 9)
    np.testing.assert_allclose(logits[0, :, :-1], logits[1, :, 1:], atol=1e-6)
    # 5 by 5, then 3 by 3: three points away in each direction, no farther
    assert np.argwhere(logits[0])[[0, -1]].tolist() == [[1, 1], [7, 7]]
    biased = params | {"bias": jnp.arange(81.0)}
    shifted = np.asarray(model.apply(biased, state, x)[0]).reshape(2, 9, 9) - logits
    np.testing.assert_allclose(shifted[1].ravel(), np.arange(81), atol=1e-4)
