"""Texts as whole numbers and back: by characters, by bytes, by byte pairs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxml.core.checks import require
from jaxml.core.files import to_json, write_atomically

PADDING, BEGIN, END, UNKNOWN = range(4)
"""The first four tokens of every tokenizer."""

# GPT-2's character for each byte: itself where it can be printed, else one from 256 on
_PRINTED = {*range(33, 127), *range(161, 173), *range(174, 256)}
_OTHERS = [byte for byte in range(256) if byte not in _PRINTED]
_CHARACTERS = [chr(b if b in _PRINTED else 256 + _OTHERS.index(b)) for b in range(256)]
_BYTES = {character: byte for byte, character in enumerate(_CHARACTERS)}


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Texts to tokens and back; made by `characters`, `utf8_bytes`, `bpe` or `load`.

    Token 0 is padding, 1 and 2 are the begin and the end of a sequence, which `encode` does not
    put there, and 3 is a character that is not known.

    Attributes:
        alphabet: the characters, from token 4 on; None of bytes, where byte b is token 4 + b.
        merges: of bytes, the pairs that become one token, in this order, as GPT-2 writes them.

    Raises:
        ValueError: if a character is there twice, or a merge is not of tokens before it.

    Example:
        >>> tokenizer = characters(["a cab"])
        >>> tokenizer.encode("bad"), tokenizer.decode([6, 5, 2, 0])
        ([6, 5, 3], 'ba')
    """

    alphabet: str | None
    merges: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        alphabet = self.alphabet
        once = alphabet is None or (isinstance(alphabet, str) and len({*alphabet}) == len(alphabet))
        require(once, "an alphabet with each character once, or None", repr(alphabet))
        require(alphabet is None or not self.merges, "merges of bytes alone", repr(alphabet))
        known = {*_CHARACTERS}
        for first, second in self.merges:
            before = first in known and second in known
            require(before, "merges of tokens before them", repr((first, second)))
            known.add(first + second)

    @property
    def size(self) -> int:
        """How many tokens there are, the first four included."""
        return 4 + len(self._symbols)

    @property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal digits, of what it is made of."""
        return hashlib.sha256(to_json(self).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The tokens of a text.

        Raises:
            ValueError: if it is no string, or has no UTF-8; of `bpe`, if the package tokenizers is
                not installed.
        """
        content = _utf8(text)
        if self.alphabet is not None:
            return [self._tokens.get(character, UNKNOWN) for character in text]
        if not self.merges:
            return [4 + byte for byte in content]
        return self._merging.encode(text).ids

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens: `decode(encode(text)) == text` if all its characters are known.

        What is not known, or no UTF-8, is the replacement character U+FFFD.

        Args:
            tokens: of one text, perhaps behind a begin and before an end and padding.

        Raises:
            ValueError: if one is not in the vocabulary, or a begin, end or padding is elsewhere.
        """
        array = np.asarray(tokens)
        flat = array.ndim == 1 and (array.size == 0 or np.issubdtype(array.dtype, np.integer))
        require(flat, "tokens as a sequence of whole numbers", f"{array.dtype} of {array.shape}")
        outside = array[(array < 0) | (array >= self.size)]
        require(outside.size == 0, f"tokens from 0 to {self.size - 1}", outside[:1])
        found = np.trim_zeros(array, "b").tolist()
        found = found[found[:1] == [BEGIN] : len(found) - (found[-1:] == [END])]
        marks = [token for token in found if token < UNKNOWN]
        require(not marks, "no begin, end or padding inside of a text", marks[:1])
        if self.alphabet is not None:
            return "".join("\ufffd" if t == UNKNOWN else self._symbols[t - 4] for t in found)
        parts = ("\ufffd".encode() if t == UNKNOWN else _bytes(self._symbols[t - 4]) for t in found)
        return b"".join(parts).decode(errors="replace")

    def arrays(self, texts: Iterable[str], name: str = "x") -> dict[str, np.ndarray]:
        """Many texts as padded arrays, as networks on sequences take them.

        Args:
            texts: at least one.
            name: of the array: "y" for targets, behind which `with_end(data, tokens.END)` puts an
                end.

        Returns:
            `name`, int32 `(rows, longest)`, and `name_length`, int32 `(rows,)`.

        Raises:
            ValueError: if there is no text, and as `encode`.

        Example:
            >>> utf8_bytes().arrays(["no", ""])
            {'x': array([[114, 115],
                   [  0,   0]], dtype=int32), 'x_length': array([2, 0], dtype=int32)}
        """
        rows = [self.encode(text) for text in _several(texts)]
        length = np.array([len(row) for row in rows], np.int32)
        padded = np.full((len(rows), length.max()), PADDING, np.int32)
        padded[np.arange(length.max()) < length[:, None]] = [t for row in rows for t in row]
        return {name: padded, f"{name}_length": length}

    def unknown(self, texts: Iterable[str]) -> int:
        """How many characters of the texts are not known; of bytes all are.

        Raises:
            ValueError: as `arrays`.
        """
        return sum(self.encode(text).count(UNKNOWN) for text in _several(texts))

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, from which `load` makes it again.

        Raises:
            ValueError: if the folder is not there or cannot be written to.
        """
        held = {"alphabet": self.alphabet, "merges": self.merges, "digest": self.digest}
        return write_atomically(path, to_json(held) + "\n")

    @functools.cached_property
    def _symbols(self) -> list[str]:
        """What is encoded by 4, 5, …; two merges may make the same."""
        if self.alphabet is not None:
            return list(self.alphabet)
        return list(dict.fromkeys([*_CHARACTERS, *(a + b for a, b in self.merges)]))

    @functools.cached_property
    def _tokens(self) -> dict[str, int]:
        return {symbol: 4 + i for i, symbol in enumerate(self._symbols)}

    @functools.cached_property
    def _merging(self) -> Any:
        return _byte_level(self._tokens, list(self.merges))


def characters(texts: Iterable[str]) -> Tokenizer:
    """A token for each character of the texts, in the order of Unicode.

    Raises:
        ValueError: if there is no text or no character, or as `Tokenizer.encode`.

    Example:
        >>> characters(["to be", "or not"]).alphabet
        ' benort'
    """
    return Tokenizer("".join(sorted({*"".join(_corpus(texts))})))


def utf8_bytes() -> Tokenizer:
    """A token for each byte of UTF-8: every text has tokens, and no character is unknown.

    Example:
        >>> utf8_bytes().encode("né")
        [114, 199, 173]
    """
    return Tokenizer(None)


def bpe(texts: Iterable[str], size: int) -> Tokenizer:
    """Byte pair encoding: from bytes on, the most frequent pair within words becomes a token.

    Words are those of GPT-2, with the blank before them. No character is unknown.

    Args:
        texts: to learn the pairs from.
        size: of the vocabulary, at least 260 (256 bytes and four more); texts with fewer pairs
            make a smaller one.

    Raises:
        ValueError: if there is no text or no character, `size` is too small, or the package
            tokenizers is not installed (`jaxml[text]`).

    Reference:
        Sennrich, Haddow and Birch (2016), arXiv:1508.07909, algorithm 1; on bytes as Radford et
        al. (2019), "Language models are unsupervised multitask learners", section 2.2, and without
        its end of a word.

    Example:
        >>> tokenizer = bpe(["low"] * 5 + ["newest"] * 6 + ["widest"] * 3, 264)
        >>> tokenizer.merges
        (('e', 's'), ('es', 't'), ('e', 'w'), ('n', 'ew'))
        >>> [tokenizer.decode([token]) for token in tokenizer.encode("lowest")]
        ['l', 'o', 'w', 'est']
    """
    whole = not isinstance(size, bool) and hasattr(size, "__index__") and int(size) >= 260
    require(whole, "size to be a whole number of at least 260", repr(size))
    texts = _corpus(texts)
    learner = _byte_level({}, [])
    trainers = _package().trainers
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=int(size) - 4, initial_alphabet=_CHARACTERS, show_progress=False
        ),
    )
    merges = json.loads(learner.to_str())["model"]["merges"]
    return Tokenizer(None, tuple((first, second) for first, second in merges))


def load(path: str | Path, *, digest: str | None = None) -> Tokenizer:
    """A tokenizer that was saved.

    Args:
        path: of the file.
        digest: of the tokenizer that a network was trained with, kept beside its parameters: with
            another one the network would read, and write, other texts.

    Raises:
        ValueError: if the file is not there or `Tokenizer.save` did not write it; if it has another
            digest.

    Example:
        >>> load(characters(["abc"]).save("tokens.json")).alphabet  # doctest: +SKIP
        'abc'
    """
    try:
        held = json.loads(Path(path).read_bytes())
        merges = tuple((first, second) for first, second in held["merges"])
        found = Tokenizer(held["alphabet"], merges)
        whole = held["digest"] == found.digest
    except (OSError, ValueError, TypeError, LookupError):
        whole, found = False, utf8_bytes()
    require(whole, "a file that Tokenizer.save wrote", repr(str(path)))
    same = digest is None or digest == found.digest
    require(same, f"the tokenizer {digest} in {path}", found.digest)
    return found


def joined(rows: Any, lengths: Any, vocabulary: Sequence[str]) -> list[str]:
    """The texts of padded rows of a data set whose vocabulary is of parts of texts.

    Args:
        rows: `(n, longest)`, numbers of symbols.
        lengths: `(n,)`.
        vocabulary: the symbols.

    Example:
        >>> joined(np.array([[1, 2], [2, 0]]), [2, 1], ["", "n", "o"])
        ['no', 'o']
    """
    symbols = np.array([*vocabulary], object)
    return ["".join(symbols[row[:n]]) for row, n in zip(rows, lengths, strict=True)]


def _utf8(text: Any) -> bytes:
    require(isinstance(text, str), "a text", repr(text))
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        got = f"{text[error.start]!a} at {error.start}"
        raise ValueError(f"expected a text that UTF-8 can write, got {got}") from None


def _several(texts: Any) -> list[str]:
    several = isinstance(texts, Iterable) and not isinstance(texts, str | bytes)
    require(several, "several texts", repr(texts))
    texts = list(texts)
    require(texts, "at least one text", "none")
    return texts


def _corpus(texts: Iterable[str]) -> list[str]:
    """The texts, which are not all empty."""
    texts = _several(texts)
    length = sum(len(_utf8(text)) for text in texts)
    require(length > 0, "texts with a character", "empty ones alone")
    return texts


def _bytes(symbol: str) -> bytes:
    return bytes(_BYTES[character] for character in symbol)


def _package() -> Any:
    try:
        import tokenizers  # noqa: PLC0415 - of an extra
    except ImportError:
        expected = "expected the package tokenizers (pip install 'jaxml[text]')"
        raise ValueError(f"{expected}, got none") from None
    return tokenizers


def _byte_level(tokens: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    package = _package()
    found = package.Tokenizer(package.models.BPE(tokens, merges))
    found.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return found
