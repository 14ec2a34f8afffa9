"""Sound files as arrays of samples."""

from __future__ import annotations

import io
import os
import wave
from pathlib import Path

import numpy as np

from jaxml.core.checks import require, require_positive_int

FULL_SCALE = 2**15
"""What samples of 16 bits are divided by, to lie from -1 to 1."""


def read_wav(path: str | os.PathLike[str] | bytes, *, rate: int = 8000) -> np.ndarray:
    """The samples of a WAV file with one channel of 16 bits, not compressed.

    Args:
        path: of the file, or its content.
        rate: the samples a second that it must have; nothing is resampled.

    Returns:
        int16 `(n,)`; divided by 2¹⁵ they lie from -1 to 1.

    Raises:
        ValueError: if it is missing, no WAV file, or of another rate, width or number of channels.

    >>> content = io.BytesIO()
    >>> with wave.open(content, "wb") as file:
    ...     file.setparams((1, 2, 8000, 0, "NONE", None))
    ...     file.writeframes(np.array([0, 1, -1], "<i2").tobytes())
    >>> read_wav(content.getvalue())
    array([ 0,  1, -1], dtype=int16)
    """
    rate = require_positive_int("rate", rate)
    title = "the content" if isinstance(path, bytes) else str(path)
    try:
        content = path if isinstance(path, bytes) else Path(path).read_bytes()
        with wave.open(io.BytesIO(content)) as file:
            found = (file.getframerate(), file.getnchannels(), 8 * file.getsampwidth())
            samples = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        reason = str(error) or "it is cut short"
        raise ValueError(f"expected a WAV file, got {title}: {reason}") from error
    require(
        found == (rate, 1, 16),
        f"a WAV file of {rate} Hz with 1 channel of 16 bits",
        f"{title} of {found[0]} Hz with {found[1]} of {found[2]}",
    )
    return np.frombuffer(samples, "<i2").astype(np.int16)


def padded(clips: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Clips of int16 samples as float32 from -1 to 1, zero behind each end, and their lengths."""
    lengths = np.array([len(clip) for clip in clips], np.int32)
    x = np.zeros((len(clips), max(lengths, default=0)), np.float32)
    for row, clip in zip(x, clips, strict=True):
        row[: len(clip)] = clip / np.float32(FULL_SCALE)
    return x, lengths
