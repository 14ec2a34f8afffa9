"""The registry and `Dataset`."""

import inspect

import numpy as np
import pytest

from jaxml import data

# what is fetched is in test_real_sets.py
AT_HAND = sorted(set(data.names()) - set(data.FETCHED))


@pytest.mark.parametrize("name", data.names())
def test_every_option_is_a_keyword_with_a_default(name):
    assert all(
        option.kind is option.KEYWORD_ONLY and option.default is not option.empty
        for option in inspect.signature(data.REGISTRY[name]).parameters.values()
    )


@pytest.mark.parametrize("name", AT_HAND)
def test_every_data_set_keeps_the_contract(name):
    dataset = data.load(name)
    assert dataset.meta["name"] == name
    assert {"task", "description", "source", "licence", "citation"} <= set(dataset.meta)
    whole = dataset.everything()
    tokens = dataset.meta["task"] == "sequence_to_sequence"
    assert whole["x"].dtype == (np.int32 if tokens else np.float32)
    count = sum(dataset.meta["counts"][name] for name in ("train", "validation", "test"))
    assert whole["x"].shape == (count, *dataset.meta["input_shape"])
    assert np.isfinite(whole["x"]).all()
    assert whole["y"].dtype == (np.float32 if dataset.meta["task"] == "regression" else np.int32)
    if dataset.meta["task"] == "classification":
        assert set(dataset.train["y"].tolist()) == set(range(dataset.meta["classes"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_HAND)
def test_writing_into_a_data_set_leaves_the_next_one_as_it_was(name):
    before = data.load(name).train["x"].copy()
    data.load(name).train["x"][:] = -7
    np.testing.assert_array_equal(data.load(name).train["x"], before)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(AT_HAND) - {"karate_club", "xor"}))
def test_the_seed_alone_decides(name):
    one, same, other = (data.load(name, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train["x"], same.train["x"])
    assert not np.array_equal(one.train["x"], other.train["x"])


def test_everything_is_train_validation_test_in_copies():
    parts = [{"x": np.full((n, 2), n), "y": np.full(n, n)} for n in (3, 2, 1)]
    whole = data.Dataset(*parts, meta={}).everything()
    np.testing.assert_array_equal(whole["y"], [3, 3, 3, 2, 2, 1])
    assert whole["x"].shape == (6, 2)
    only_train = data.Dataset(parts[0], None, None, meta={})
    assert not np.shares_memory(only_train.everything()["x"], parts[0]["x"])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ({}, None, "train arrays of one leading length, got none"),
        ({"x": np.zeros(2), "y": np.zeros(3)}, None, "one leading length.*'x': 2, 'y': 3"),
        ({"x": np.zeros(2)}, {"a": {"b": (np.zeros(2), np.zeros(3))}}, "'a/b/0': 2, 'a/b/1': 3"),
        (np.zeros(2), None, "train to be a dict of arrays"),
    ],
)
def test_splits_that_do_not_fit_together(train, test, message):
    with pytest.raises(ValueError, match=message):
        data.Dataset(train, None, test, meta={})


def test_splits_have_names_and_keys_of_their_own():
    """A labelled source and an unlabelled target; episodes; the tasks of a stream."""
    x, y = np.zeros((4, 2)), np.zeros(4)
    target = {"target": {"x": np.zeros((7, 2))}, "target_test": {"x": x, "y": y}}
    domains = data.Dataset({"x": x, "y": y}, None, {"x": x[:3], "y": y[:3]}, {}, target)
    assert list(domains.splits) == ["train", "test", "target", "target_test"]
    assert domains.splits["target"] is target["target"]
    counts = {"train": 4, "validation": 0, "test": 3, "target": 7, "target_test": 4}
    assert domains.meta == {"counts": counts, "input_shape": (2,)}
    episodes = {"support": {"x": x, "y": y}, "query": [x, x]}
    few = data.Dataset(episodes, None, episodes, {"name": "few"})
    assert few.meta == {"name": "few", "counts": {"train": 4, "validation": 0, "test": 4}}
    whole = few.everything()
    assert whole["query"][1].shape == whole["support"]["x"].shape == (8, 2)
    with pytest.raises(ValueError, match=r"others by other names .*, got \['test'\]"):
        data.Dataset({"x": x}, None, None, {}, {"test": {"x": x}})
    with pytest.raises(ValueError, match=r"with the keys \['x', 'y'\], as train has, got \['x'\]"):
        data.Dataset({"x": x, "y": y}, {"x": x}, None, {}).everything()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "digit",
            {},
            r"one of asterisk_prompts, .*, xor, got 'digit' \(did you mean 'digits'\?\)",
        ),
        ("zzz", {}, "got 'zzz'$"),
        ("bible", {"pair": "en-es"}, "pair to be one of es-en, kjv-web, es-kjv, got 'en-es'"),
        ("bible", {"split": "verse"}, "split to be one of random, book, got 'verse'"),
        (3, {}, "got 3$"),
        (["ring"], {}, r"got \['ring'\]"),
        ("digits", {"sead": 1}, "options of digits among seed, got sead"),
        ("xor", {"n": 4}, "no option of xor, got n"),
        ("digits", {"seed": -1}, "seed .* got -1"),
        ("digits", {"seed": None}, "seed .* got None"),
        ("digits", {"seed": True}, "seed .* got True"),
        ("two_spirals", {"n": 7}, "even .* got 7"),
        ("two_spirals", {"n": 2}, "at least 4, got 2"),
        ("two_spirals", {"noise": -0.1}, "noise .* got -0.1"),
        ("ring", {"noise": float("nan")}, "noise .* got nan"),
        ("ring", {"noise": 1j}, "noise .* got 1j"),
        ("ring", {"modes": 0}, "modes .* got 0"),
        ("ring", {"radius": "2"}, "radius .* got '2'"),
        ("gaussian_grid", {"side": 0}, "side .* got 0"),
        ("gaussian_grid", {"spacing": -1}, "spacing .* got -1"),
        ("linear_teacher", {"inputs": 2.5}, "inputs .* got 2.5"),
        ("linear_teacher", {"n": 3, "test": 0.9}, "train on, got .* of 3 rows"),
    ],
)
def test_what_load_refuses(name, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, **options)
