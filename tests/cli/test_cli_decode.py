"""`jaxml train transformer` and `jaxml decode`: what is printed is what the library decodes."""

import io
import json
import sys

import numpy as np
import pytest

import jaxml
from jaxml import sequence
from jaxml.cli import main
from jaxml.sequence import decoding, tokens

pytestmark = pytest.mark.slow


def run(command, capsys, code=0):
    got = main(command.split())
    captured = capsys.readouterr()
    assert got == code, captured.err
    return captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decode") / "run"
    options = "--width 16 --layers 1 --heads 2 --steps 60 --learning-rate 1e-2 --norm post"
    also = "--label-smoothing 0.1 --checkpoint-every 60"
    command = f"train transformer --data cmudict {options} {also} --out {folder}"
    assert main(command.split()) == 0
    return folder


def test_hypotheses_are_those_of_the_library(folder, capsys, tmp_path, monkeypatch):
    (tmp_path / "words").write_text("knight\n\nco-op\n")
    page = tmp_path / "page.html"
    out, err = run(
        f"decode {folder} {tmp_path}/words --beam 3 --n-best 2 --attention {page}", capsys
    )
    trained = jaxml.load(folder)
    letters, phonemes = (trained.meta[f"{side}_vocabulary"] for side in ("input", "target"))
    words = ["knight", "co-op"]
    x = np.zeros((2, 6), int)
    for row, word in zip(x, words, strict=True):
        row[: len(word)] = [letters.index(letter) for letter in word]
    found = sequence.decode(
        trained.model, trained.params, {"x": x, "x_length": np.array([6, 5])}, decoding.beam,
        begin=70, end=71, maximum_length=29, size=3, n_best=2,
    )  # fmt: skip
    expected = [
        [word, " ".join(phonemes[token] for token in tokens), f"{score:.4f}"]
        for word, several, scores in zip(words, found.sequences(), found.scores, strict=True)
        for tokens, score in zip(several, scores, strict=True)
    ]
    assert [line.split("\t") for line in out.splitlines()] == expected
    assert err.strip().endswith(str(page))
    assert "co-op" in page.read_text()

    monkeypatch.setattr(sys, "stdin", io.StringIO("knight\n"))
    greedy, _ = run(f"decode {folder}", capsys)
    monkeypatch.setattr(sys, "stdin", io.StringIO("knight\n"))
    drawn, _ = run(f"decode {folder} --sample 0.01", capsys)
    assert drawn.split("\t")[1] == greedy.split("\t")[1]


def test_it_is_resumed(folder, capsys):
    out, _ = run(f"train --resume {folder} --steps 61", capsys)
    assert "going on after step 60 of 61" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [("--n-best 2", "--n-best of at most --beam, got 2 of 1"),
     ("--top-k 3", "--sample TEMPERATURE with --top-k, got none"),
     ("--sample 1 --beam 2", "--sample or --beam, got both"),
     ("--beam 0", "a whole number of at least 1, got 0")],
)  # fmt: skip
def test_bad_options(folder, options, message, capsys, tmp_path):
    (tmp_path / "words").write_text("knight\n")
    _, err = run(f"decode {folder} {tmp_path}/words {options}", capsys, 2)
    assert message in err


def test_bad_lines(folder, capsys, tmp_path):
    path = tmp_path / "words"
    for text, message in (("naïve", "'ï' in line 1, 'naïve'"), ("\n", "at least one line")):
        path.write_text(text)
        _, err = run(f"decode {folder} {path}", capsys, 2)
        assert message in err
    _, err = run(f"decode {folder} {tmp_path}/none", capsys, 2)
    assert "a file of lines, or -" in err


def test_a_recurrent_network_is_trained_and_decodes(capsys, tmp_path):
    options = "--width 8 --cell gru --attention location --steps 4 --checkpoint-every 4"
    run(f"train recurrent_seq2seq --data cmudict {options} --out {tmp_path}/run", capsys)
    network = jaxml.load(tmp_path / "run").meta["network"]
    chosen = [network[name] for name in ("name", "width", "cell", "attention", "layers")]
    assert chosen == ["recurrent_seq2seq", 8, "gru", "location", 1]
    (tmp_path / "words").write_text("knight\n")
    out, _ = run(f"decode {tmp_path}/run {tmp_path}/words --beam 2", capsys)
    assert out.startswith("knight\t")


def test_a_run_keeps_its_tokenizer_and_refuses_another(capsys, tmp_path):
    folder, words = tmp_path / "run", tmp_path / "words"
    options = "--width 16 --layers 1 --heads 2 --steps 4 --checkpoint-every 4 --byte-pairs 300"
    out, _ = run(f"train transformer --data number_words {options} --out {folder}", capsys)
    assert "in 300 tokens of byte pairs" in out
    words.write_text("742\n1900\n")
    page = tmp_path / "page.html"
    out, _ = run(f"decode {folder} {words} --maximum-length 9 --attention {page}", capsys)
    trained, path = jaxml.load(folder), folder / "tokenizer.json"
    digest = json.loads((folder / "config.json").read_text())["tokenizer"]
    assert trained.meta["tokenizer"] == digest
    tokenizer = tokens.load(path, digest=digest)
    found = sequence.decode(
        trained.model, trained.params, tokenizer.arrays(["742", "1900"]),
        begin=tokens.BEGIN, end=tokens.END, maximum_length=9,
    )  # fmt: skip
    expected = [
        [text, " ".join(tokenizer.decode([t for t in one if t > 2]).split()), f"{score:.4f}"]
        for text, one, score in zip(("742", "1900"), found.sequences(), found.scores, strict=True)
    ]
    assert [line.split("\t") for line in out.rstrip("\n").split("\n")] == expected

    other = tokens.bpe(["one two three " * 3], 270).save(path)
    _, err = run(f"decode {folder} {words}", capsys, 2)
    assert f"expected the tokenizer {digest} in {other}, got {tokens.load(other).digest}" in err
    assert len(err.strip().splitlines()) == 1
    path.unlink()
    _, err = run(f"decode {folder} {words}", capsys, 2)
    assert "a file that Tokenizer.save wrote" in err
    run(f"train --resume {folder} --steps 5", capsys)
    assert tokens.load(path) == tokenizer

    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace(digest, "0" * 64))
    for command in (f"train --resume {folder} --steps 6", f"landscape {folder}"):
        _, err = run(command, capsys, 2)
        assert f"the tokenizer {'0' * 64} that {folder} was begun with, got {digest}" in err


def test_byte_pairs_are_of_texts(capsys):
    _, err = run("train transformer --data cmudict --byte-pairs 300", capsys, 2)
    assert "a data set of characters, for --byte-pairs, got symbols as ['AA0']" in err
    _, err = run("train mlp --data digits --byte-pairs 300", capsys, 2)
    assert "--byte-pairs with sequences, got 300" in err
    _, err = run("train transformer --data number_words --byte-pairs 100", capsys, 2)
    assert "size to be a whole number of at least 260, got 100" in err


def test_other_data_or_networks_are_refused(capsys, tmp_path):
    _, err = run("train transformer --data digits", capsys, 2)
    assert "sequences to sequences for a transformer, got a classification" in err
    _, err = run("train mlp --data cmudict", capsys, 2)
    assert "classification or regression data, got sequence_to_sequence" in err
    _, err = run("train transformer --data cmudict --hidden 3,4", capsys, 2)
    assert "one width as --hidden with transformer, got 3,4" in err
    _, err = run("train recurrent_seq2seq --data cmudict --heads 2", capsys, 2)
    assert "--width, --layers, --cell, --attention, --dropout with recurrent_seq2seq, got" in err
    _, err = run("train transformer --data cmudict --augment flip", capsys, 2)
    assert "no --augment with a transformer" in err
    assert main(f"train mlp --data xor --steps 2 --out {tmp_path}/xor".split()) == 0
    capsys.readouterr()
    (tmp_path / "words").write_text("knight\n")
    _, err = run(f"decode {tmp_path}/xor {tmp_path}/words", capsys, 2)
    assert "a network from sequences to sequences, got a mlp" in err


def test_only_the_sequences_are_read(monkeypatch, tmp_path, capsys):
    """Not links, nor which verse it is; that nothing reads these is no warning."""
    rows = {
        "x": np.ones((8, 5), np.int32),
        "x_length": np.full(8, 5, np.int32),
        "y": np.ones((8, 4), np.int32),
        "y_length": np.full(8, 4, np.int32),
        "links": np.zeros((8, 2, 4), np.int32),
    }
    vocabulary = {"input_vocabulary": ("", "a"), "target_vocabulary": ("", "b")}
    bible = jaxml.data.Dataset(rows, rows, rows, {**jaxml.data.FETCHED["bible"].meta, **vocabulary})
    monkeypatch.setitem(jaxml.data.REGISTRY, "bible", lambda: bible)
    options = "--width 8 --layers 1 --heads 2 --steps 1"
    _, err = run(f"train transformer --data bible {options} --out {tmp_path}/run", capsys)
    assert "nothing reads" not in err
