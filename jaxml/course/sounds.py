"""Waveforms as the frames that networks of the course read."""

from __future__ import annotations

import functools

import jax
import numpy as np

from jaxml import nn

BANDS = 40
STACKED = 4
"""Frames of 10 ms that are put side by side: a sequence four times as short."""

COLUMNS = BANDS * STACKED
SECONDS = 0.01 * STACKED
"""From one row to the next."""


_ROWS = 256
"""Waveforms at a time: one shape is compiled."""

_log_mel = jax.jit(functools.partial(nn.log_mel, bands=BANDS))


def filter_bank(waveforms: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames `(N, frames, BANDS)` by `nn.log_mel`, and how many there are of each."""
    n = len(waveforms)
    waveforms, lengths = (
        np.pad(array, ((0, -n % _ROWS), *((0, 0),) * (array.ndim - 1)))
        for array in (waveforms, lengths)
    )
    found = [
        jax.device_get(_log_mel(waveforms[i : i + _ROWS], lengths[i : i + _ROWS]))
        for i in range(0, n, _ROWS)
    ]
    frames, counts = (np.concatenate(parts)[:n] for parts in zip(*found, strict=True))
    return frames, counts


def without_colour(frames: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Each band of each clip in deviations from its own mean: what a microphone adds is gone."""
    inside = (np.arange(frames.shape[1]) < counts[:, None])[..., None]
    total = np.maximum(counts, 1)[:, None, None]
    centred = np.where(inside, frames - frames.sum(1, keepdims=True) / total, 0)
    deviation = np.sqrt((centred**2).sum(1, keepdims=True) / total)
    return centred / np.maximum(deviation, 1e-3)


def stacked(frames: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """`x` `(N, n, COLUMNS)` and `x_length`, each row of `STACKED` frames."""
    n, most, bands = frames.shape
    padded = np.pad(frames, ((0, 0), (0, -most % STACKED), (0, 0)))
    return {
        "x": padded.reshape(n, -1, STACKED * bands),
        "x_length": (-(-counts // STACKED)).astype(np.int32),
    }
