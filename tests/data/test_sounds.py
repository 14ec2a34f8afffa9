"""Sound files, prompts as a Debian package has them, and synthetic speech."""

import io
import shutil
import tarfile
import wave

import numpy as np
import pytest

from jaxml import data
from jaxml.data.loaders import asterisk_prompts as prompts


def wav(samples, *, rate=8000, channels=1, width=2):
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", None))
        file.writeframes(np.asarray(samples).astype(f"<i{width}").tobytes())
    return content.getvalue()


def test_samples_of_a_file(tmp_path):
    samples = np.array([0, 1, -(2**15), 2**15 - 1])
    (tmp_path / "a.wav").write_bytes(wav(samples))
    np.testing.assert_array_equal(data.read_wav(tmp_path / "a.wav"), samples)
    found = data.read_wav(wav(samples, rate=16_000), rate=16_000)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, samples)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav([0], rate=44_100), "8000 Hz with 1 channel of 16 bits, got .* 44100 Hz with 1 of 16"),
        (wav([0, 0], channels=2), "got the content of 8000 Hz with 2 of 16"),
        (wav([0], width=4), "got the content of 8000 Hz with 1 of 32"),
        (b"", "expected a WAV file, got the content: it is cut short"),
        (b"fLaC" + bytes(100), "expected a WAV file, got the content: file does not start"),
        (wav([0])[:30], "expected a WAV file, got the content"),
        ("nowhere.wav", "expected a WAV file, got nowhere.wav: .*No such file"),
    ],
)
def test_what_is_no_such_file(content, message):
    with pytest.raises(ValueError, match=message):
        data.read_wav(content)


def packages(clips):
    """Archives as the packages hold them: folder -> name -> samples."""
    contents = []
    for _, folder in prompts.VOICES.values():
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name, samples in clips.get(folder, {}).items():
                file = tarfile.TarInfo(f"./usr/share/asterisk/sounds/{folder}/{name}")
                of = samples if isinstance(samples, bytes) else wav(samples)
                file.size = len(of)
                archive.addfile(file, io.BytesIO(of))
        contents.append(content.getvalue())
    return contents


def test_packages_of_clips():
    arrays = prompts.read(
        packages(
            {
                "en_US_f_Allison": {"hello.wav": [1, 2], "digits/1.wav": [3], "LICENSE": b"no"},
                "it_IT_m_Carlo": {"hello.wav": [4, 5, 6]},
            }
        )
    )
    assert arrays["samples"].tolist() == [3, 1, 2, 4, 5, 6]
    assert arrays["length"].tolist() == [1, 2, 3]
    assert arrays["voice"].tolist() == [0, 0, 2]
    assert arrays["names"].tobytes() == b"digits/1\nhello\nhello"
    with pytest.raises(ValueError, match=r"en_US_f_Allison/a\.wav: .* got .* 44100 Hz"):
        prompts.read(packages({"en_US_f_Allison": {"a.wav": wav([0], rate=44_100)}}))


@pytest.fixture
def exchange(monkeypatch):
    """Twelve clips of each voice; sample j of clip i of voice v is 1000 v + i, of i + 1 samples."""
    names = ["silence/1", "beep", *(f"digits/{i}" for i in range(8)), "letters/a", "queue-minute"]
    arrays = prompts.read(
        packages(
            {
                folder: {f"{name}.wav": [1000 * v + i] * (i + 1) for i, name in enumerate(names)}
                for v, (_, folder) in enumerate(prompts.VOICES.values())
            }
        )
    )
    monkeypatch.setattr(prompts, "fetch", lambda fetched: (arrays, "the cache"))


def said(dataset, split):
    rows, letters = dataset.splits[split], dataset.meta["text_vocabulary"]
    return {
        (
            dataset.meta["speakers"][rows["speaker"][i]],
            dataset.meta["languages"][rows["language"][i]],
            dataset.meta["clips"][rows["clip"][i]],
            "".join(letters[c] for c in rows["text"][i, : rows["text_length"][i]]),
        )
        for i in range(len(rows["x"]))
    }


def test_rows_of_prompts(exchange):
    whole = data.asterisk_prompts(validation=0, test=0)
    rows = whole.train
    assert len(rows["x"]) == 40  # without silence and the tone
    assert rows["x"].dtype == np.float32
    values = np.rint(rows["x"] * 2**15).astype(int)
    number = values[:, 0] % 1000
    np.testing.assert_array_equal(rows["x_length"], number + 1)
    inside = np.arange(values.shape[1]) < rows["x_length"][:, None]
    np.testing.assert_array_equal(values, np.where(inside, values[:, :1], 0))
    np.testing.assert_array_equal(values[:, 0] // 1000, rows["speaker"] + (rows["language"] > 0))
    assert {
        ("allison", "en", "digits/5", "five"),
        ("allison", "es", "digits/5", "cinco"),
        ("carlo", "it", "digits/5", "cinque"),
        ("menardi", "it", "letters/a", "a"),
        ("carlo", "it", "queue-minute", ""),
    } <= said(whole, "train")
    assert data.asterisk_prompts(longest=5 / 8000, validation=0, test=0).train["x"].shape == (12, 5)


@pytest.mark.parametrize("target", ["speaker", "language"])
def test_a_voice_is_held_out_whole(exchange, target):
    held_out = data.asterisk_prompts(target=target, test="carlo-it", validation=0.2)
    assert {row[:2] for row in said(held_out, "test")} == {("carlo", "it")}
    rest = said(held_out, "train") | said(held_out, "validation")
    assert {row[:2] for row in rest} == {("allison", "en"), ("allison", "es"), ("menardi", "it")}
    assert held_out.meta["counts"] == {"train": 24, "validation": 6, "test": 10}
    np.testing.assert_array_equal(held_out.test["y"], held_out.test[target])
    mixed = data.asterisk_prompts(test=0.2, validation=0.2)
    for split in ("validation", "test"):
        rows = mixed.splits[split]
        pairs = np.unique(np.stack([rows["speaker"], rows["language"]]), axis=1, return_counts=True)
        assert pairs[1].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "sex"}, "target to be one of speaker, language, got 'sex'"),
        ({"test": "carlo-en"}, "test to be one of allison-en, .*, got 'carlo-en'"),
        ({"longest": 0}, "longest above 0, got 0"),
        ({"longest": 1e-5}, "clips as short as longest, got 1e-05 s"),
        ({"validation": 1.0}, "validation to be a fraction below 1, got 1.0"),
        ({"seed": -1}, "seed .* got -1"),
    ],
)
def test_options_of_prompts(exchange, options, message):
    with pytest.raises(ValueError, match=message):
        data.asterisk_prompts(**options)


def test_texts_of_names():
    numbers = pytest.importorskip("num2words")
    for language, of in prompts.SAID.items():
        cardinals = {n: t for n, t in of.items() if n.removeprefix("digits/").isdecimal()}
        assert len(cardinals) > 25
        for name, text in cardinals.items():
            number = int(name.removeprefix("digits/"))
            assert numbers.num2words(number, lang=language) == text
    ordinals = {n: t for n, t in prompts.SAID["en"].items() if n.startswith("digits/h-")}
    assert len(ordinals) == 31
    for name, text in ordinals.items():
        number = name.removeprefix("digits/h-")
        if number.isdecimal():
            assert numbers.num2words(int(number), to="ordinal") == text


needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")


@needs_espeak
def test_synthetic_speech():
    texts = ["two", "two", "twenty two thousand", "-two"]
    found = data.synthetic_speech(texts, "en-us")
    x, lengths = found["x"], found["x_length"]
    assert (x.dtype, lengths.dtype) == (np.float32, np.int32)
    assert x.shape == (4, lengths.max())
    np.testing.assert_array_equal(x[0], x[1])
    assert 0.2 * 8000 < lengths[0] < 0.5 * lengths[2]
    assert lengths[3] == lengths[0]  # no option of the program
    assert 0.05 < np.abs(x).max() <= 1
    inside = np.arange(x.shape[1]) < lengths[:, None]
    assert not x[~inside].any()
    other = data.synthetic_speech(
        texts[:2], ["en-us+f2", "it"], words_per_minute=[160, 80], rate=16_000
    )
    assert other["x_length"].min() > 1.5 * lengths[0]


@needs_espeak
@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "texts to be said, got none"),
        (["a", " "], {}, r"texts to be said, got none at \[1\]"),
        (["a"], {"voices": "xx"}, "to say 'a' as 'xx', got .*voice does not exist"),
        (["a"], {"voices": ["en", "it"]}, "a voice for each of 1 texts, got 2"),
        (["a"], {"words_per_minute": 20}, "words_per_minute from 80 to 450, .*, got 20"),
        (["a"], {"pitch": [10, 20]}, r"pitch from 0 to 99, .* 1 texts, got \[10, 20\]"),
        (["a"], {"pitch": 5.5}, "pitch .* got 5.5"),
    ],
)
def test_what_cannot_be_said(texts, options, message):
    with pytest.raises(ValueError, match=message):
        data.synthetic_speech(texts, **{"voices": "en", **options})


def test_no_espeak(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"the program espeak-ng \(apt-get .*\), got none"):
        data.synthetic_speech("hello", "en")
