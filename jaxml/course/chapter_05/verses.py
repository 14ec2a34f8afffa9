"""Verses of the Bible as pairs to train on, what a network writes of them, and where it looks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxml import data, sequence
from jaxml.core import drawing
from jaxml.core.finding import Figure, Section, Table
from jaxml.course import pictures
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.sequence import decoding, metrics, tokens

LONGEST = 80  # tokens of a verse, with the end: 99 % of them
SHOWN = 14  # tokens of the verse of the picture, at most
MARKS: dict[str, Any] = {"begin": tokens.BEGIN, "end": tokens.END, "maximum_length": LONGEST}
BEAM, GREEDY = "a beam of 5", "greedy"
RANDOM, BOOKS = "random verses", "books held out"

Link = Sequence[int]
"""Start and stop in the source, start and stop in the target, in characters or in tokens."""


class Verses(NamedTuple):
    """Sources, their translations, and which parts of the two stand for the same word."""

    sources: list[str]
    targets: list[str]
    links: list[list[Link]]

    def some(self, rows: Any) -> Verses:
        """Those of these numbers."""
        return Verses(*([column[i] for i in rows] for column in self))


class Parts(NamedTuple):
    """Verses for training, for validation, and held out, by name; the books that are held out."""

    train: Verses
    validation: Verses
    held_out: dict[str, Verses]
    books: list[str]


class Alignment(NamedTuple):
    """Which links are missed, as shares, and how that is shown.

    Attributes:
        missed: by attention, and by the diagonal.
        by_layer: on the validation verses.
        links: how many there are.
        section: of a page.
    """

    missed: dict[str, float]
    by_layer: list[float]
    links: int
    section: Section


def load(pair: str, quick: bool) -> Parts:
    """The verses of two translations; quick: few and short ones."""
    bible = data.load("bible", pair=pair, split="book", validation=0, test=0.1)
    vocabulary = bible.meta["input_vocabulary"]

    def texts(rows: Any, name: str) -> list[str]:
        return tokens.joined(rows[name], rows[f"{name}_length"], vocabulary)

    def verses(rows: Any) -> Verses:
        links = [[link for link in own.tolist() if link[1]] for own in rows["links"]]
        return Verses(texts(rows, "x"), texts(rows, "y"), links)

    train, books = (verses(bible.splits[name]) for name in ("train", "test"))
    random = np.random.default_rng(0)
    order, chosen = (random.permutation(len(part.sources)) for part in (train, books))
    test, validation, rest = np.split(order, [1000, 1200])
    if quick:
        test, validation, rest, chosen = (
            [i for i in rows if len(part.sources[i]) < 50 and len(part.targets[i]) < 50][:count]
            for rows, part, count in (
                (test, train, 20), (validation, train, 20), (rest, train, 200), (chosen, books, 20)
            )
        )  # fmt: skip
    held_out = {RANDOM: train.some(test), BOOKS: books.some(chosen[:1000])}
    names = [bible.meta["books"][i] for i in np.unique(bible.splits["test"]["verse"][:, 0])]
    return Parts(train.some(rest), train.some(validation), held_out, names)


def to_train(tokenizer: tokens.Tokenizer, verses: Verses) -> dict[str, Any]:
    """Those that are not too long."""
    found = {**tokenizer.arrays(verses.sources), **tokenizer.arrays(verses.targets, "y")}
    short = np.maximum(found["x_length"], found["y_length"] + 1) <= LONGEST
    found = sequence.with_end({name: rows[short] for name, rows in found.items()}, tokens.END)
    return {name: a[:, :LONGEST] if a.ndim > 1 else a for name, a in found.items()}


def _arrays(tokenizer: tokens.Tokenizer, texts: list[str], name: str = "x") -> dict[str, Any]:
    """Padded to a multiple of 64 tokens: few shapes are compiled."""
    found = tokenizer.arrays(texts, name)
    found[name] = np.pad(found[name], ((0, 0), (0, -found[name].shape[1] % 64)))
    return found


def written(
    network: Seq2Seq, params: Any, tokenizer: tokens.Tokenizer, verses: Verses, way: str = GREEDY
) -> list[str]:
    """The network's translations, by a beam or greedy."""
    options: dict[str, Any] = {}
    if way == BEAM:
        options = {"search": decoding.beam, "size": 5, "length_penalty": 1.0}
    sources = _arrays(tokenizer, verses.sources)
    out = sequence.decode(network, params, sources, **MARKS, **options)
    best = [one[0] if way == BEAM else one for one in out.sequences()]
    return [tokenizer.decode(one).strip() for one in best]


def bleu(texts: list[str], verses: Verses) -> float:
    """Of all verses, by sacrebleu."""
    return metrics.text_bleu(texts, [[target] for target in verses.targets]).score


def translated(
    network: Seq2Seq,
    params: Any,
    tokenizer: tokens.Tokenizer,
    held_out: dict[str, Verses],
    floors: dict[str, Callable[[Verses], list[str]]],
) -> tuple[dict[str, dict[str, list[str]]], dict[str, dict[str, float]]]:
    """Of each part held out what the network writes in two ways and what others do; their BLEU."""
    ways = {
        way: functools.partial(written, network, params, tokenizer, way=way)
        for way in (BEAM, GREEDY)
    } | floors
    texts = {place: {way: of(own) for way, of in ways.items()} for place, own in held_out.items()}
    scores = {
        place: {way: bleu(text, held_out[place]) for way, text in own.items()}
        for place, own in texts.items()
    }
    return texts, scores


def examples(verses: Verses, texts: list[str], source: str) -> Section:
    """The first verses beside what the network writes of them, and their translation."""
    rows = [list(row) for row in zip(verses.sources, texts, verses.targets, strict=True)][:8]
    return Section(
        "The first of the random verses",
        table=Table([source, "the network's", "World English Bible"], rows),
    )


def scores(seen: dict[float, float], bleus: dict[str, dict[str, float]]) -> Section:
    """The BLEU of validation verses by epoch, and of the verses held out."""
    curve = {"validation verses": (list(seen), list(seen.values()))}
    return Section(
        "BLEU on verses never seen",
        figures=[
            pictures.curves(
                curve, "BLEU rises with the epochs.", style="o-", xlabel="epoch",
                ylabel="BLEU (greedy)",
            )
        ],
        table=Table(
            ["verses", *next(iter(bleus.values()))],
            [[place, *(f"{value:.1f}" for value in own.values())] for place, own in bleus.items()],
        ),
    )  # fmt: skip


def alignment(
    network: Seq2Seq, params: Any, tokenizer: tokens.Tokenizer, parts: Parts, title: str
) -> Alignment:
    """Where the network looks as it writes the random verses, in the layer that looks best.

    Args:
        network: of the tokenizer's tokens.
        params: its parameters.
        tokenizer: of both languages.
        parts: the layer is chosen on the validation verses.
        title: of the section.
    """
    found = maps(network, params, tokenizer, parts.validation)
    links = in_tokens(tokenizer, parts.validation)
    by_layer = [missed(links, found[:, i]) for i in range(found.shape[1])]
    layer, random = int(np.argmin(by_layer)), parts.held_out[RANDOM]
    found = maps(network, params, tokenizer, random)[:, layer]
    links = in_tokens(tokenizer, random)
    both = {
        "attention": missed(links, found),
        "diagonal": missed(links, diagonal(tokenizer, random)),
    }
    section = Section(
        title,
        f"Links by Strong's numbers that are once in each verse; the attention of layer "
        f"{layer + 1} of {len(by_layer)}, which was chosen on validation verses.",
        figures=[_picture(tokenizer, random, links, found)],
        table=Table(
            ["where a word looks", "links missed"],
            [[name, f"{value:.1%}"] for name, value in both.items()],
        ),
    )
    return Alignment(both, by_layer, sum(map(len, links)), section)


def maps(network: Seq2Seq, params: Any, tokenizer: tokens.Tokenizer, verses: Verses) -> np.ndarray:
    """What each layer looks at when it writes the right translation: `(verses, layers, y, x)`."""
    x, y = _arrays(tokenizer, verses.sources), _arrays(tokenizer, verses.targets, "y")
    out = sequence.decode(
        network, params, x, prefix=y["y"], prefix_length=y["y_length"], attention=True,
        batch_size=len(verses.sources), **{**MARKS, "maximum_length": y["y"].shape[1] + 1},
    )  # fmt: skip
    assert out.attention is not None
    return np.moveaxis(out.attention, 2, 1)


def diagonal(tokenizer: tokens.Tokenizer, verses: Verses) -> list[np.ndarray]:
    """The maps of one that goes through both verses at an even pace."""
    sizes = [[len(tokenizer.encode(t)) for t in pair] for pair in zip(*verses[:2], strict=True)]
    return [np.eye(n)[((np.arange(m) + 0.5) * n / m).astype(int)] for n, m in sizes]


def missed(links: list[list[Link]], maps: Sequence[np.ndarray] | np.ndarray) -> float:
    """The share of links whose target looks most at a token outside of their source.

    Args:
        links: of each verse, in tokens.
        maps: of each verse, `(y, x)`.
    """
    found = [
        [
            (k, k if start <= look[begin:end].mean(0).argmax() < stop else -1)
            for k, (start, stop, begin, end) in enumerate(own)
        ]
        for own, look in zip(links, maps, strict=True)
    ]
    return metrics.alignment_error_rate(found, [[(k, k) for k in range(len(own))] for own in links])


def in_tokens(tokenizer: tokens.Tokenizer, verses: Verses) -> list[list[Link]]:
    """The links as start and stop in tokens, in place of characters."""
    found = []
    for source, target, links in zip(*verses, strict=True):
        ends = [_ends(tokenizer, text) for text in (source, target)]
        found.append(
            [
                [
                    int(np.searchsorted(ends[side], place, side="right" if i == 0 else "left")) + i
                    for side in (0, 1)
                    for i, place in enumerate(link[2 * side : 2 * side + 2])
                ]
                for link in links
            ]
        )
    return found


def _ends(tokenizer: tokens.Tokenizer, text: str) -> list[int]:
    """Behind which character each token of a text ends."""
    found = tokenizer.encode(text)
    return [len(tokenizer.decode(found[: i + 1])) for i in range(len(found))]


def _picture(
    tokenizer: tokens.Tokenizer, verses: Verses, links: list[list[Link]], maps: np.ndarray
) -> Figure:
    """Of the short verses the one with most links: what looks at what, and the links as frames."""
    coded = [[tokenizer.encode(t) for t in pair] for pair in zip(*verses[:2], strict=True)]
    short = [i for i, pair in enumerate(coded) if max(map(len, pair)) <= SHOWN]
    row = max(short or [0], key=lambda i: len(links[i]))
    x, y = ([tokenizer.decode([token]).strip() for token in side] for side in coded[row])

    def draw(ax: Any) -> None:
        from matplotlib.patches import Rectangle  # noqa: PLC0415 - drawn late

        ax.imshow(maps[row, : len(y), : len(x)], cmap="Blues", vmin=0, aspect="auto")
        for start, stop, begin, end in links[row]:
            corner, sides = (start - 0.5, begin - 0.5), (stop - start, end - begin)
            ax.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=drawing.COLORS[1]))
        ax.grid(visible=False)
        ax.set_xticks(range(len(x)), x, rotation=60, ha="right")
        ax.set_yticks(range(len(y)), y)

    return Figure(draw, "What each English token looks at; the frames are the links.", height=0.9)
