"""Images read between their pixels: grids, and matrices that move them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.core.checks import require, require_choice

BORDERS = ("zeros", "edge")


def affine_grid(
    matrices: Float[Array, "batch 2 3"], size: tuple[int, int]
) -> Float[Array, "batch height width 2"]:
    """Where each pixel of the output looks in the input: `A (x, y, 1)ᵀ`.

    Coordinates run from -1 at the image's left (upper) edge to 1 at its right (lower) edge, so
    that the centre of pixel i of n is at `(2i + 1)/n - 1`.

    Args:
        matrices: A, from the output's coordinates to the input's.
        size: height and width of the output.

    Returns:
        x and y for every pixel, as `grid_sample` takes them.

    Reference:
        Jaderberg, Simonyan, Zisserman and Kavukcuoglu (2015), arXiv:1506.02025, eq. 1.

    >>> import jax.numpy as jnp
    >>> identity = jnp.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> affine_grid(identity, (1, 2))[0, 0].tolist()
    [[-0.5, 0.0], [0.5, 0.0]]
    """
    height, width = size
    y, x = jnp.meshgrid(centres(height), centres(width), indexing="ij")
    points = jnp.stack([x, y, jnp.ones_like(x)], -1)
    return jnp.einsum("bck,hwk->bhwc", matrices, points)


def rotations(angles: Float[Array, " batch"], size: tuple[int, int]) -> Float[Array, "batch 2 3"]:
    """The matrices that turn an image about its centre, anticlockwise as one sees it.

    Args:
        angles: in radians.
        size: height and width, since the coordinates of both run from -1 to 1.

    Returns:
        As `affine_grid` takes them.

    >>> import jax.numpy as jnp
    >>> rotations(jnp.zeros(1), (2, 4))[0].tolist()
    [[1.0, -0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    height, width = size
    c, s, zero = jnp.cos(angles), jnp.sin(angles), jnp.zeros_like(angles)
    across, down = s * (height / width), s * (width / height)
    return jnp.stack([c, -across, zero, down, c, zero], -1).reshape(-1, 2, 3)


def grid_sample(
    images: Float[Array, "batch height width channels"],
    grid: Float[Array, "batch rows columns 2"],
    *,
    border: str = "zeros",
) -> Float[Array, "batch rows columns channels"]:
    """Images read at the points of a grid, bilinearly between the centres of pixels.

    Written as products of matrices, so that neither it nor its gradients gather or scatter: each
    point weighs the columns and the rows, of which at most two of either count. It costs
    `height * width` products a point and channel. PyTorch's function of that name gives the same
    with `align_corners=False`.

    Args:
        images: what to read.
        grid: x and y of each point, -1 to 1 as in `affine_grid`; the weights have its dtype.
        border: what lies outside of the image: "zeros", or the "edge" pixels over and over.

    Raises:
        ValueError: if the shapes do not go together, or the border rule is unknown.

    Reference:
        Jaderberg et al. (2015), arXiv:1506.02025, eq. 5.

    >>> import jax.numpy as jnp
    >>> image = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> grid_sample(image, jnp.zeros((1, 1, 1, 2))).item()  # the mean of all four
    1.5
    """
    shapes = f"{jnp.shape(images)} and {jnp.shape(grid)}"
    fit = jnp.ndim(images) == jnp.ndim(grid) == 4 and grid.shape[3] == 2
    fit = fit and len(images) == len(grid)
    require(fit, "images (batch, height, width, channels) and a grid (batch, ., ., 2)", shapes)
    batch, height, width, channels = images.shape
    points = grid.reshape(batch, -1, 2)
    columns = _weights(points[..., 0], width, border)
    rows = _weights(points[..., 1], height, border)
    by_row = jnp.einsum("bijc,bpj->bipc", images, columns)
    read = jnp.einsum("bipc,bpi->bpc", by_row, rows)
    return read.reshape(*grid.shape[:3], channels)


def resample(
    images: Float[Array, "batch height width channels"],
    y: Float[Array, "batch rows"],
    x: Float[Array, "batch columns"],
    *,
    border: str = "zeros",
) -> Float[Array, "batch rows columns channels"]:
    """`grid_sample` on a grid of rows and columns, as two small products of matrices.

    Args:
        images: what to read.
        y: of each row, -1 to 1.
        x: of each column.
        border: as in `grid_sample`.

    >>> import jax.numpy as jnp
    >>> image = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> resample(image, jnp.zeros((1, 1)), jnp.array([[-0.5, 0.5]])).ravel().tolist()
    [1.0, 2.0]
    """
    _, height, width, _ = images.shape
    rows, columns = _weights(y, height, border), _weights(x, width, border)
    return jnp.einsum("bri,bijc,bsj->brsc", rows, images, columns)


def centres(size: int) -> jax.Array:
    """Where the pixels of a row are, from -1 to 1."""
    return (2 * jnp.arange(size) + 1) / size - 1


def _weights(x: Array, size: int, border: str) -> Array:
    """`max(0, 1 - |distance|)` to the centre of each of `size` pixels, along a new last axis."""
    require_choice("border", border, BORDERS)
    place = ((x + 1) * size - 1) / 2
    if border == "edge":
        place = jnp.clip(place, 0, size - 1)
    return jnp.maximum(0, 1 - jnp.abs(place[..., None] - jnp.arange(size)))
