"""Speech that no person spoke: text read by the program espeak-ng."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import shutil
import subprocess
from collections.abc import Sequence

import numpy as np

from jaxml.core.checks import require
from jaxml.data.dataset import Split
from jaxml.data.wav_files import padded

_HEADER = 44
"""Bytes before the samples."""


def synthetic_speech(
    texts: Sequence[str],
    voices: str | Sequence[str],
    *,
    words_per_minute: int | Sequence[int] = 160,
    pitch: int | Sequence[int] = 50,
    rate: int = 8000,
) -> Split:
    """Texts as they are read by espeak-ng, a synthesizer by formants.

    The program is not part of jaxml: `apt-get install espeak-ng`, or from
    https://github.com/espeak-ng/espeak-ng. The same text is read the same way each time by one
    version of it.

    Args:
        texts: what is to be said.
        voices: of all or of each: a language, such as "en-us" or "it", and a variant of the voice
            if there is a plus, "it+f2". `espeak-ng --voices` and `--voices=variant` list them; of a
            variant that it does not know it takes the plain voice.
        words_per_minute: of all or of each, from 80 to 450.
        pitch: of all or of each, from 0 to 99.
        rate: samples a second, to which its own are resampled.

    Returns:
        `x` float32 `(N, n)`, from -1 to 1, zero behind each end; `x_length` int32 `(N,)`.

    Raises:
        ValueError: if the program is not there, a text is empty, or an option is out of range or
            of another number than the texts.
    """
    require(
        shutil.which("espeak-ng") is not None,
        "the program espeak-ng (apt-get install espeak-ng)", "none",
    )  # fmt: skip
    texts = [texts] if isinstance(texts, str) else list(texts)
    blank = [i for i, text in enumerate(texts) if not text.strip()]
    require(texts and not blank, "texts to be said", f"none at {blank}" if blank else "none")
    words_per_minute = _each("words_per_minute", words_per_minute, len(texts), 80, 450)
    pitch = _each("pitch", pitch, len(texts), 0, 99)
    voices = [voices] * len(texts) if isinstance(voices, str) else list(voices)
    require(len(voices) == len(texts), f"a voice for each of {len(texts)} texts", len(voices))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        spoken = functools.partial(_spoken, rate=rate)
        clips = list(pool.map(spoken, texts, voices, words_per_minute, pitch))
    x, x_length = padded(clips)
    return {"x": x, "x_length": x_length}


def _each(name: str, value: int | Sequence[int], n: int, least: int, most: int) -> list[int]:
    values = np.broadcast_to(value, (n,)) if np.ndim(value) == 0 else np.asarray(value)
    valid = values.shape == (n,) and np.issubdtype(values.dtype, np.integer)
    valid = valid and bool(((values >= least) & (values <= most)).all())
    require(valid, f"{name} from {least} to {most}, of all or of each of {n} texts", value)
    return values.tolist()


def _spoken(text: str, voice: str, words_per_minute: int, pitch: int, *, rate: int) -> np.ndarray:
    from scipy.signal import resample_poly  # noqa: PLC0415 - slow to import and seldom needed

    options = ["-v", voice, "-s", str(words_per_minute), "-p", str(pitch), "--stdout"]
    done = subprocess.run(
        ["espeak-ng", *options, "--", text],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    complaint = done.stderr.decode(errors="replace").strip()
    found = done.returncode == 0 and len(done.stdout) > _HEADER
    require(found, f"espeak-ng to say {text!r} as {voice!r}", complaint or "silence")
    own = int.from_bytes(done.stdout[24:28], "little")  # samples a second
    samples = np.frombuffer(done.stdout[_HEADER:], "<i2").astype(np.float64)
    clip = resample_poly(samples, rate, own)
    return np.clip(np.rint(clip), -(2**15), 2**15 - 1).astype(np.int16)
