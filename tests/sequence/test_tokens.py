"""Tokenizers: round trips, and byte pairs against the paper's algorithm written out."""

import collections
import itertools
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from jaxml import sequence
from jaxml.sequence import tokens

TEXTS = ["the cat sat\non the mat", " the  hat — né 象 <padding>", "that's 2 + 22\t"]
BPE = tokens.bpe(TEXTS * 2, 280)
CHARACTERS = tokens.characters(TEXTS)
BYTES = tokens.utf8_bytes()
PAPER = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3


@given(st.text(), st.text(CHARACTERS.alphabet))
@settings(max_examples=200, deadline=None)
def test_round_trips(text, known):
    for tokenizer in (BYTES, BPE):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert CHARACTERS.decode(CHARACTERS.encode(known)) == known
    assert BYTES.encode(text) == [4 + byte for byte in text.encode("utf-8")]
    assert [CHARACTERS.alphabet[t - 4] for t in CHARACTERS.encode(known)] == list(known)
    shown = "".join(c if c in CHARACTERS.alphabet else "\ufffd" for c in text)
    assert CHARACTERS.decode(CHARACTERS.encode(text)) == shown
    assert CHARACTERS.unknown([text, known]) == sum(c not in CHARACTERS.alphabet for c in text)


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_byte_pairs_are_decoded_as_by_the_package(text):
    vocabulary = {symbol: 4 + i for i, symbol in enumerate(BPE._symbols)}
    known = Tokenizer(models.BPE(vocabulary, list(BPE.merges)))
    known.decoder = decoders.ByteLevel()
    assert known.decode(BPE.encode(text)) == BPE.decode(BPE.encode(text)) == text


@given(st.lists(st.integers(3, BPE.size - 1)))
@settings(max_examples=100, deadline=None)
def test_any_tokens_have_a_text(found):
    for tokenizer in (BYTES, BPE, CHARACTERS):
        own = [token for token in found if token < tokenizer.size]
        text = tokenizer.decode([tokens.BEGIN, *own, tokens.END, 0, 0])
        assert text == tokenizer.decode(np.array(own, int))
        assert text.count("\ufffd") >= own.count(tokens.UNKNOWN)


def merged(word, pair):
    """A word with every one of the pairs put together, from the left."""
    found, i = [], 0
    while i < len(word):
        size = 2 if tuple(word[i : i + 2]) == pair else 1
        found.append("".join(word[i : i + size]))
        i += size
    return found


def by_algorithm_1(words, count):
    """The merges by Sennrich et al.; of equally frequent pairs that of the earlier tokens."""
    order = {chr(byte): byte for byte in range(256)}
    words, merges = [list(word) for word in words], []
    for _ in range(count):
        pairs = collections.Counter(pair for word in words for pair in itertools.pairwise(word))
        best = min(pairs, key=lambda pair: (-pairs[pair], order[pair[0]], order[pair[1]]))
        words = [merged(word, best) for word in words]
        order.setdefault("".join(best), len(order))
        merges.append(best)
    return merges


def test_byte_pairs_are_those_of_the_paper():
    """Its example, but for the end of a word: e s, es t, l o, lo w are among the first."""
    found = tokens.bpe(PAPER, 260 + 8)
    assert list(found.merges) == by_algorithm_1(PAPER, 8)
    assert found.merges[:2] == (("e", "s"), ("es", "t"))
    assert {("l", "o"), ("lo", "w")} < {*found.merges}
    assert found.size == 268
    pieces = [found.decode([token]) for token in found.encode("lowest newer")]
    assert pieces == ["low", "est", " ", "new", "e", "r"]


def test_byte_pairs_are_encoded_by_the_merges_in_their_order():
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("aab"), 1 + i % 6)) for i in range(60)]
    found = tokens.bpe(words, 260 + 12)
    assert list(found.merges) == by_algorithm_1(words, 12)
    for text in (" ".join(words[:20]), "a" * 9, "abba" * 4):
        known = []
        for word in re.findall(" ?[ab]+", text):
            pieces = ["Ġ" if character == " " else character for character in word]
            for merge in found.merges:
                pieces = merged(pieces, merge)
            known += [piece.replace("Ġ", " ") for piece in pieces]
        assert [found.decode([token]) for token in found.encode(text)] == known


def test_two_merges_may_make_one_token():
    found = tokens.Tokenizer(None, (("a", "b"), ("b", "c"), ("a", "bc"), ("ab", "c")))
    assert found.size == 4 + 256 + 3
    assert found.encode("abc") == [262]
    assert found.decode([260, 261, 262]) == "abbcabc"


def test_many_texts_are_targets():
    data = BYTES.arrays(["ab", "", "c"], "y")
    assert data["y"].tolist() == [[101, 102], [0, 0], [103, 0]]
    assert data["y"].dtype == data["y_length"].dtype == np.int32
    found = sequence.with_end(data, tokens.END)
    assert [BYTES.decode(row) for row in found["y"]] == ["ab", "", "c"]
    assert found["y"].tolist() == [[101, 102, 2], [2, 0, 0], [103, 2, 0]]


def test_files_hold_the_same(tmp_path):
    made = (BYTES, BPE, CHARACTERS, tokens.characters(["ab"]))
    for tokenizer in made:
        again = tokens.load(tokenizer.save(tmp_path / "tokens.json"))
        assert again == tokenizer
        assert again.digest == tokenizer.digest
        assert again.encode("the cat") == tokenizer.encode("the cat")
    assert len({tokenizer.digest for tokenizer in made}) == 4
    assert tokens.bpe(TEXTS * 2, 280).digest == BPE.digest


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"the package tokenizers \(pip install 'jaxml\[text\]'"):
        tokens.bpe(["a"], 260)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tokens.bpe(TEXTS, 259), "size to be a whole number of at least 260, got 259"),
        (lambda: tokens.bpe(TEXTS, 300.0), "whole number of at least 260, got 300.0"),
        (lambda: tokens.bpe(TEXTS, True), "whole number of at least 260, got True"),
        (lambda: tokens.bpe([], 300), "at least one text, got none"),
        (lambda: tokens.bpe(["", ""], 300), "texts with a character, got empty ones alone"),
        (lambda: tokens.characters([]), "at least one text, got none"),
        (lambda: tokens.characters([""]), "texts with a character, got empty"),
        (lambda: tokens.characters("abc"), "several texts, got 'abc'"),
        (lambda: tokens.characters(["abc", 5]), "a text, got 5"),
        (lambda: tokens.characters(["a\ud800"]), r"UTF-8 can write, got '\\ud800' at 1"),
        (lambda: BYTES.encode(b"abc"), "a text, got b'abc'"),
        (lambda: BPE.encode(None), "a text, got None"),
        (lambda: BPE.encode("ab\udfff"), r"UTF-8 can write, got '\\udfff' at 2"),
        (lambda: BYTES.arrays([]), "at least one text, got none"),
        (lambda: BYTES.unknown("abc"), "several texts, got 'abc'"),
        (lambda: BYTES.decode([260]), r"tokens from 0 to 259, got \[260\]"),
        (lambda: BYTES.decode([4, -1]), r"tokens from 0 to 259, got \[-1\]"),
        (lambda: BYTES.decode([4, 0, 5]), r"no begin, end or padding inside of a text, got \[0\]"),
        (lambda: BYTES.decode([4, 2, 5, 2]), r"inside of a text, got \[2\]"),
        (lambda: BYTES.decode([4.0]), "a sequence of whole numbers, got float64"),
        (lambda: BYTES.decode([[4]]), r"a sequence of whole numbers, got int64 of \(1, 1\)"),
        (lambda: tokens.Tokenizer("aa"), "each character once, or None, got 'aa'"),
        (lambda: tokens.Tokenizer("a", (("a", "a"),)), "merges of bytes alone, got 'a'"),
        (lambda: tokens.Tokenizer(None, (("ab", "c"),)), r"before them, got \('ab', 'c'\)"),
        (lambda: tokens.load("missing.json"), "that Tokenizer.save wrote, got 'missing.json'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "3",
        "{}",
        '{"alphabet": "ab", "merges": [], "digest": "0"}',
        '{"alphabet": null, "merges": [["ab", "c"]], "digest": ""}',
        '{"alphabet": null, "merges": [1], "digest": ""}',
        '{"alphabet": ["a"], "merges": [], "digest": ""}',
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_none(tmp_path, content):
    path = tmp_path / "tokens.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"expected a file that Tokenizer\.save wrote, got"):
        tokens.load(path)


def test_another_tokenizer_than_a_network_was_trained_with_is_refused(tmp_path):
    """What it encodes is as long and of tokens that the network knows, so nothing else tells."""
    trained, other = tokens.characters(["abc"]), tokens.characters(["abd"])
    path = trained.save(tmp_path / "tokens.json")
    assert tokens.load(path, digest=trained.digest) == trained
    with pytest.raises(ValueError, match=f"the tokenizer {trained.digest} in .*, got") as raised:
        tokens.load(other.save(path), digest=trained.digest)
    assert "\n" not in str(raised.value)
