"""Sound as frames: how loud each band of frequencies is, every hundredth of a second."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int

FLOOR = 1e-10
"""The least energy, of waveforms from -1 to 1: that of silence has no logarithm."""


def log_mel(
    waveforms: Any,
    lengths: Any = None,
    *,
    rate: int = 8000,
    window: float = 0.025,
    hop: float = 0.01,
    bands: int = 40,
    low: float = 20.0,
    high: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The logarithms of the energies of frames in bands that widen as hearing does.

    Of each frame, under a Hann window and padded to a power of two, the squares of the discrete
    Fourier transform are summed with the weights of `mel_filters`. It is a function of arrays, to
    be used in a network as before it, with a gradient.

    Args:
        waveforms: `(batch, n)`, samples from -1 to 1.
        lengths: `(batch,)`, how many of each are not padding; None for all.
        rate: samples a second.
        window: seconds of a frame.
        hop: seconds from one frame to the next.
        bands: how many.
        low: the least frequency, in hertz.
        high: the greatest; half of `rate` by default.

    Returns:
        `(batch, frames, bands)`, of frames within `n` whole, 0 for those that are not within the
        length; and int32 `(batch,)`, how many are.

    Raises:
        ValueError: if an argument is not as described, or a frame is longer than `n`.

    Reference:
        Davis and Mermelstein (1980), IEEE Transactions on Acoustics, Speech and Signal Processing
        28:357-366; with the conventions of Kaldi's `fbank` (window "hanning", `snip_edges`, without
        dither, pre-emphasis and removal of the mean).

    >>> t = jnp.arange(8000) / 8000
    >>> frames, count = log_mel(jnp.sin(2 * jnp.pi * 1000 * t)[None])
    >>> frames.shape, int(count[0]), int(frames[0, 0].argmax())
    ((1, 98, 40), 98, 18)
    """
    waveforms = jnp.asarray(waveforms)
    shape = f"{waveforms.dtype} of shape {waveforms.shape}"
    real = waveforms.ndim == 2 and jnp.issubdtype(waveforms.dtype, jnp.floating)
    require(real, "waveforms of real numbers, (batch, n)", shape)
    rate = require_positive_int("rate", rate)
    size, step = (round(seconds * rate) for seconds in (window, hop))
    require(step >= 1 and size >= 2, "a hop and a window of samples", f"{hop} s and {window} s")
    n = waveforms.shape[1]
    require(n >= size, f"waveforms of at least a frame, {size} samples", n)
    if lengths is None:
        lengths = np.full(len(waveforms), n)
    lengths = jnp.asarray(lengths)
    whole = lengths.shape == waveforms.shape[:1] and jnp.issubdtype(lengths.dtype, jnp.integer)
    require(whole, "a whole number for each waveform", f"{lengths.dtype} of {lengths.shape}")
    filters = mel_filters(bands, _padded(size), rate=rate, low=low, high=high)
    starts = np.arange(0, n - size + 1, step)
    frames = waveforms[:, starts[:, None] + np.arange(size)]
    spectra = jnp.fft.rfft(frames * np.hanning(size).astype(waveforms.dtype), _padded(size))
    energies = (jnp.abs(spectra) ** 2) @ filters.astype(waveforms.dtype)
    count = jnp.maximum((lengths - size) // step + 1, 0).astype(jnp.int32)
    inside = jnp.arange(len(starts)) < count[:, None]
    return jnp.where(inside[..., None], jnp.log(jnp.maximum(energies, FLOOR)), 0), count


def mel_filters(
    bands: int, size: int, *, rate: int = 8000, low: float = 20.0, high: float | None = None
) -> np.ndarray:
    """The weights of each frequency of a Fourier transform in each band.

    They are triangles over m(f) = 1127 ln(1 + f/700), each from the middle of the band before to
    that of the next one, whose middles are equally far apart.

    Args:
        bands: how many.
        size: of the transform, even.
        rate: samples a second.
        low: where the first begins, in hertz.
        high: where the last ends; half of `rate` by default.

    Returns:
        `(size // 2 + 1, bands)`.

    Raises:
        ValueError: if an argument is not as described.

    Reference:
        Kaldi, feat/mel-computations.cc; O'Shaughnessy (1987), Speech communication, for m(f).

    >>> mel_filters(3, 16).round(1)[:, 1]
    array([0. , 0.1, 0.8, 0.6, 0.2, 0. , 0. , 0. , 0. ])
    """
    bands = require_positive_int("bands", bands)
    size, rate = require_positive_int("size", size), require_positive_int("rate", rate)
    high = rate / 2 if high is None else high
    require(size % 2 == 0, "an even size", size)
    valid = 0 <= low < high <= rate / 2
    require(valid, f"0 <= low < high <= {rate / 2:g}", f"{low:g} and {high:g}")
    mel = lambda f: 1127 * np.log1p(np.asarray(f) / 700)  # noqa: E731
    corners = np.linspace(mel(low), mel(high), bands + 2)
    apart = corners[1] - corners[0]
    # the last frequency, half of the rate, is in no band, as in Kaldi
    at = mel(np.append(np.arange(size // 2) * rate / size, np.inf))[:, None]
    return np.clip(1 - np.abs(at - corners[1:-1]) / apart, 0, None)


def _padded(size: int) -> int:
    return 1 << (size - 1).bit_length()
