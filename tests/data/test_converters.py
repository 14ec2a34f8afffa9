"""Files of each source into arrays: small ones, made here, by every route to the same result."""

import gzip
import io
import json
import lzma
import pickle
import struct
import sys
import tarfile
import types
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxml.data.fetching import content_sha256
from jaxml.data.loaders import (
    chicago_ridership,
    cmudict,
    emoji,
    idx_images,
    japanese_vowels,
    mnist,
    vowel,
)

RNG = np.random.default_rng(0)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def images(rng, n):
    return rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)


def test_mnist_from_idx_files_and_from_a_pickle():
    rng = np.random.default_rng(0)
    (x, y), (x_test, y_test) = images(rng, 5), images(rng, 3)
    expected = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
    files = [gzip.compress(idx(array)) for array in expected.values()]
    triple = [
        (images.reshape(-1, 784).astype(np.float32) / 256, labels.astype(np.int64))
        for images, labels in ((x[:4], y[:4]), (x[4:], y[4:]), (x_test, y_test))
    ]
    pickled = gzip.compress(pickle.dumps(tuple(triple), protocol=2))
    for arrays in (idx_images.read(files), mnist.read_pickle([pickled])):
        assert content_sha256(arrays) == content_sha256(expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an IDX file of bytes"),
        (b"\0\0\x0d\x01\0\0\0\x01\0", "an IDX file of bytes"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], r"shape \(2, 3\), got 5 bytes"),
        (idx(np.zeros((2, 3), np.uint8)) + b"\0", r"shape \(2, 3\), got 7 bytes"),
    ],
)
def test_damaged_idx_files(content, message):
    with pytest.raises(ValueError, match=message):
        idx_images.parse_idx(content)


@pytest.fixture
def as_pandas(monkeypatch):
    """Objects that are pickled as pandas pickles a DataFrame of two blocks."""
    made = {}
    for module, names in {
        "pandas.core.frame": ("DataFrame",),
        "pandas.core.internals.managers": ("BlockManager",),
        "pandas._libs.internals": ("_unpickle_block",),
        "pandas.core.indexes.base": ("_new_Index", "Index"),
    }.items():
        for end in range(len(parts := module.split("."))):
            parent = ".".join(parts[: end + 1])
            if parent not in sys.modules:
                monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        for name in names:
            made[name] = type(name, (), {"__module__": module})
            monkeypatch.setattr(sys.modules[module], name, made[name], raising=False)

    class Call:
        def __init__(self, name, *arguments):
            self.reduced = made[name], arguments

        def __reduce__(self):
            return self.reduced

    return made["DataFrame"], made["Index"], Call


def test_riders_from_a_frame_and_from_a_table(as_pandas):
    frame_type, index, call = as_pandas
    days, riders = ["2001-01-22", "2001-01-23", "2001-01-24"], np.array([15.732, 15.762, 15.872])
    names = np.array(["rownames", "ridership", "temp", "date"], dtype=object)
    numbers = np.stack([riders, riders - 30])
    blocks = (
        call("_unpickle_block", numbers, slice(1, 3, 1), 2),
        call("_unpickle_block", np.arange(3)[None], np.array([0]), 2),
        call("_unpickle_block", np.array([days], dtype=object), slice(3, 4, 1), 2),
    )
    axes = [call("_new_Index", index, {"data": names, "name": None})]
    frame = frame_type()
    frame.__dict__.update(_mgr=call("BlockManager", blocks, axes), _typ="dataframe")
    packed = lzma.compress(pickle.dumps(frame, protocol=5))
    table = "".join(
        f'"{i}",{value},{value - 30},{day}\n'
        for i, (value, day) in enumerate(zip(riders, days, strict=True))
    )
    text = f'"rownames","ridership","temp","date"\n{table}'.encode()
    expected = {"date": np.array(days, "datetime64[D]"), "ridership": riders}
    for arrays in (chicago_ridership.read_frame([packed]), chicago_ridership.read_csv([text])):
        assert content_sha256(arrays) == content_sha256(expected)


def test_words_and_phonemes():
    text = b"a AH0\na(2) EY1\naalborg AO1 L B AO0 R G # place, danish\n'em AH0 M\n"
    arrays = cmudict.read([text])
    spelled = [
        "".join(cmudict.CHARACTERS[i] for i in row[:length])
        for row, length in zip(arrays["x"], arrays["x_length"], strict=True)
    ]
    assert spelled == ["a", "a", "aalborg", "'em"]
    spoken = [
        " ".join(cmudict.STRESSED_PHONEMES[i] for i in row[:length])
        for row, length in zip(arrays["y"], arrays["y_length"], strict=True)
    ]
    assert spoken == ["AH0", "EY1", "AO1 L B AO0 R G", "AH0 M"]
    assert arrays["pronunciation"].tolist() == [1, 2, 1, 1]
    assert (arrays["x"] > 0).sum() == arrays["x_length"].sum()  # the rest is padding
    assert len(cmudict.PHONEMES) == 1 + 39
    assert len(cmudict.STRESSED_PHONEMES) == 1 + 69


def test_vowels_from_two_formats():
    rng = np.random.default_rng(0)
    archive = io.BytesIO()
    texts, expected = [], {}
    with zipfile.ZipFile(archive, "w") as zipped:
        for part, sizes in (
            ("train", japanese_vowels.TRAIN_UTTERANCES),
            ("test", japanese_vowels.TEST_UTTERANCES),
        ):
            y = np.repeat(np.arange(9, dtype=np.int32), sizes)
            length = rng.integers(7, 30, len(y), np.int32)
            x = rng.normal(size=(len(y), 29, 12)).round(6).astype(np.float32)
            x[np.arange(29) >= length[:, None]] = 0
            expected |= {f"x_{part}": x, f"length_{part}": length, f"y_{part}": y}
            series = [row[:n] for row, n in zip(x, length, strict=True)]
            lines = [
                ":".join([",".join(map(str, column)) for column in s.T] + [str(label + 1)])
                for s, label in zip(series, y, strict=True)
            ]
            texts.append("#about\n@dimensions 12\n@data\n" + "\n".join(lines) + "\n")
            blocks = ("\n".join(" ".join(map(str, frame)) for frame in s) for s in series)
            zipped.writestr(f"ae.{part}", " \n\n".join(blocks) + " \n\n")
    ts = japanese_vowels.read_ts([text.encode() for text in texts])
    for arrays in (ts, japanese_vowels.read_zip([archive.getvalue()])):
        assert content_sha256(arrays) == content_sha256(expected)


def test_deterding_s_vowels_from_two_formats():
    lines = [
        [part, speaker, 1, *np.round(RNG.normal(size=10), 3), word]
        for part, speaker in ((0, 0), (0, 7), (1, 8))
        for word in range(2)
    ]
    for mark in (",", "  "):
        arrays = vowel.read(["\n".join(mark.join(map(str, line)) for line in lines).encode()])
        np.testing.assert_array_equal(arrays["x"], np.array(lines, np.float32)[:, 3:13])
        assert arrays["speaker"].tolist() == [0, 0, 7, 7, 8, 8]
        assert arrays["y"].tolist() == [0, 1] * 3


def test_emoji_of_two_archives():
    """Three drawings of two signs: one with a variant in skin tone."""
    signs = [
        {"image": "b.png", "sort_order": 2, "category": "Flags"},
        {
            "image": "a.png",
            "sort_order": 1,
            "category": "People & Body",
            "skin_variations": {"1F3FB": {"image": "c.png"}},
        },
    ]
    archives, drawn = [], {}
    for artist in emoji.ARTISTS:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for name in "cab":
                image = RNG.integers(0, 256, (64, 64, 4), np.uint8)
                drawn[artist, name] = image
                png = io.BytesIO()
                Image.fromarray(image).save(png, "PNG")
                _add(archive, f"package/img/{artist}/64/{name}.png", png.getvalue())
            _add(archive, f"package/img/{artist}/sheets/64.png", b"no")
            _add(archive, "package/emoji.json", json.dumps(signs).encode())
        archives.append(content.getvalue())
    arrays = emoji.read(archives)
    for artist in emoji.ARTISTS:
        np.testing.assert_array_equal(arrays[artist], [drawn[artist, name] for name in "abc"])
    assert arrays["sign"].tolist() == [0, 1, 0]
    assert [emoji.CATEGORIES[i] for i in arrays["category"]] == [
        "People & Body",
        "Flags",
        "People & Body",
    ]


def _add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def test_the_hash_of_arrays_sees_names_types_shapes_and_values():
    base = {"x": np.arange(4, dtype=np.int32), "y": np.zeros(2)}
    others = [
        {"x": base["x"], "z": base["y"]},
        {"x": base["x"].astype(np.uint32), "y": base["y"]},
        {"x": base["x"].reshape(2, 2), "y": base["y"]},
        {"x": base["x"] + 1, "y": base["y"]},
    ]
    assert len({content_sha256(arrays) for arrays in [base, *others]}) == 5
    swapped = {"y": base["y"], "x": base["x"].astype(">i4")}
    assert content_sha256(swapped) == content_sha256(base)
    strided = {"x": np.repeat(base["x"], 2)[::2], "y": base["y"]}
    assert content_sha256(strided) == content_sha256(base)
