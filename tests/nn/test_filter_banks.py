"""Frames of sound, against sums written out, SciPy and Kaldi's own code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jaxml import nn

RATE = 8000


@pytest.fixture(scope="module")
def waveforms():
    """Noise, and a rising tone; the second is 3,000 samples long."""
    random, t = np.random.default_rng(0), np.arange(4000) / RATE
    chirp = np.where(t < 3000 / RATE, 0.3 * np.sin(2 * np.pi * (300 * t + 2000 * t**2)), 0)
    return np.stack([0.1 * random.normal(size=4000), chirp])


def test_each_step_by_scipy(waveforms):
    """Spectra by SciPy; the energy of each band by a sum over frequencies, one by one."""
    with jax.enable_x64(True):
        frames, count = nn.log_mel(waveforms, bands=12)
    window = scipy.signal.get_window("hann", 200, fftbins=False)
    mel = lambda f: 1127 * np.log(1 + f / 700)  # noqa: E731
    corners = np.linspace(mel(20), mel(4000), 14)
    assert count.tolist() == [48, 48]
    for row, found in zip(waveforms, np.asarray(frames), strict=True):
        for i in (0, 17, 47):
            piece = np.zeros(256)
            piece[:200] = row[80 * i : 80 * i + 200] * window
            energy = np.abs(scipy.fft.rfft(piece)) ** 2
            for band in range(12):
                left, middle, right = corners[band : band + 3]
                total = 0.0
                for k in range(128):
                    m = mel(k * RATE / 256)
                    if left < m <= middle:
                        total += energy[k] * (m - left) / (middle - left)
                    elif middle < m < right:
                        total += energy[k] * (right - m) / (right - middle)
                assert found[i, band] == pytest.approx(np.log(max(total, 1e-10)), abs=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("rate", "bands", "low", "high"), [(8000, 40, 20, None), (16_000, 23, 80, 7000)]
)
def test_it_is_kaldis(waveforms, rate, bands, low, high):
    kaldi = pytest.importorskip("kaldi_native_fbank")
    options = kaldi.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither = rate, 0
    options.frame_opts.preemph_coeff, options.frame_opts.remove_dc_offset = 0, False
    options.frame_opts.window_type, options.frame_opts.snip_edges = "hanning", True
    options.mel_opts.num_bins, options.mel_opts.low_freq = bands, low
    options.mel_opts.high_freq = high or 0
    frames, _ = nn.log_mel(waveforms.astype(np.float32), rate=rate, bands=bands, low=low, high=high)
    for row, found in zip(waveforms, frames, strict=True):
        fbank = kaldi.OnlineFbank(options)
        fbank.accept_waveform(rate, row.tolist())
        fbank.input_finished()
        known = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
        assert known.shape == found.shape
        loud = known > np.log(1e-5)  # its own floor is 1.2e-7
        assert loud.mean() > 0.25
        np.testing.assert_allclose(found[loud], known[loud], atol=2e-3)


def test_a_tone_is_in_the_bands_around_it():
    """Triangles that overlap by half: a frequency's weights sum to 1, and are in two bands."""
    filters = nn.mel_filters(20, 512, low=100)
    mel = lambda f: 1127 * np.log1p(np.asarray(f) / 700)  # noqa: E731
    corners = np.linspace(mel(100), mel(4000), 22)
    at = mel(np.arange(257) * RATE / 512)
    inside = (at >= corners[1]) & (at <= corners[-2])
    np.testing.assert_allclose(filters.sum(1)[inside], 1, atol=1e-12)
    assert (np.count_nonzero(filters, axis=1) <= 2).all()
    outside = (at <= corners[0]) | (at >= corners[-1])
    assert not filters[outside].any()
    tone = 0.5 * np.sin(2 * np.pi * 1500 * np.arange(RATE) / RATE)
    frames, _ = nn.log_mel(tone[None].astype(np.float32), bands=20, low=100)
    middle = np.searchsorted(corners, mel(1500)) - 1
    assert set(np.argsort(frames[0].mean(0))[-2:].tolist()) == {middle - 1, middle}


def test_padding_changes_nothing_and_louder_adds(waveforms):
    x = np.concatenate([waveforms, 2 * waveforms[:1]]).astype(np.float32)
    compiled = jax.jit(nn.log_mel)
    frames, count = compiled(x, np.array([4000, 3000, 4000]))
    assert count.tolist() == [48, 36, 48]
    alone, _ = nn.log_mel(x[1:2, :3000])
    np.testing.assert_allclose(frames[1, :36], alone[0], atol=1e-5)
    assert not frames[1, 36:].any()
    np.testing.assert_allclose(frames[2] - frames[0], np.log(4), atol=1e-4)
    silence, none = compiled(0 * x, np.array([199, 200, 4000]))
    assert none.tolist() == [0, 1, 48]
    np.testing.assert_allclose(silence[2], np.log(1e-10), rtol=1e-6)


@pytest.mark.slow
def test_it_has_a_gradient(waveforms):
    """That of the mean of a frame's energies, by finite differences."""
    with jax.enable_x64(True):
        x = jnp.asarray(waveforms[:1, :400])
        value = lambda x: nn.log_mel(x, bands=8)[0].mean()  # noqa: E731
        direction = jnp.asarray(np.random.default_rng(1).normal(size=x.shape))
        exact = jnp.vdot(jax.grad(value)(x), direction)
        numeric = (value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
        assert float(exact) == pytest.approx(float(numeric), rel=1e-6)


@pytest.mark.parametrize(
    ("waveform", "options", "message"),
    [
        (np.zeros((1, 100), np.float32), {}, "at least a frame, 200 samples, got 100"),
        (np.zeros(400, np.float32), {}, r"\(batch, n\), got float32 of shape \(400,\)"),
        (np.zeros((1, 400), np.int16), {}, "waveforms of real numbers, .*, got int16"),
        (np.zeros((1, 400), np.float32), {"lengths": [1.5]}, "a whole number for each waveform"),
        (np.zeros((2, 400), np.float32), {"lengths": [400]}, "a whole number for each waveform"),
        (
            np.zeros((1, 400), np.float32),
            {"high": 5000},
            "0 <= low < high <= 4000, got 20 and 5000",
        ),
        (np.zeros((1, 400), np.float32), {"low": -1.0}, "got -1 and 4000"),
        (np.zeros((1, 400), np.float32), {"bands": 0}, "bands .* got 0"),
        (np.zeros((1, 400), np.float32), {"hop": 0.0}, "a hop and a window of samples, got 0.0 s"),
    ],
)
def test_bad_input(waveform, options, message):
    with pytest.raises(ValueError, match=message):
        nn.log_mel(waveform, **options)
