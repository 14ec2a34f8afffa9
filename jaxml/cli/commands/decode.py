"""`jaxml decode`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from jaxml import nn, report, sequence
from jaxml.cli import console, texts
from jaxml.cli.commands.predict import warn_of_unfinished
from jaxml.cli.options import COUNT, FINITE, FRACTION, NATURAL, POSITIVE, Step
from jaxml.core.checks import require
from jaxml.core.finding import Figure, Finding, Section
from jaxml.core.seeds import key as key_of
from jaxml.core.selfcheck import require_sound_backend
from jaxml.sequence import decoding, tokens
from jaxml.trained import Trained, load

_SHOWN = 12
"""Attention maps on a page."""


def command(
    run: str,
    file: str = "-",
    *,
    step: Step = None,
    beam: Annotated[int, COUNT] = 1,
    length_penalty: Annotated[float, FINITE] = 0.0,
    n_best: Annotated[int, COUNT] = 1,
    sample: Annotated[float | None, POSITIVE, Parameter(metavar="TEMPERATURE")] = None,
    top_k: Annotated[int | None, COUNT] = None,
    top_p: Annotated[float | None, FRACTION] = None,
    seed: Annotated[int, NATURAL] = 0,
    maximum_length: Annotated[int | None, COUNT] = None,
    attention: Annotated[str | None, Parameter(metavar="PAGE.html")] = None,
) -> None:
    """Write with a network from sequences to sequences that `jaxml train` trained.

    For each line that is read, one is printed for each hypothesis: the line, what the network
    makes of it, and the log-probability of that, with tabs between.

    Args:
        run: the run's folder.
        file: of lines; - for those that are typed or piped in.
        step: of the checkpoint, or best: least validation loss (the latest).
        beam: how many beginnings are kept; 1 takes the likeliest token each time.
        length_penalty: of a beam: above 0 favours longer sequences.
        n_best: of a beam, how many hypotheses a line.
        sample: draw the tokens, their logits divided by this temperature.
        top_k: of a sample: of so many likeliest tokens.
        top_p: of a sample: of the likeliest tokens that have this probability together.
        seed: of a sample.
        maximum_length: tokens of a hypothesis, its end included (that of the training data).
        attention: a page of where each token looked, of the first lines.
    """
    given = {"--top-k": top_k, "--top-p": top_p}
    alone = [name for name, value in given.items() if value is not None and sample is None]
    require(not alone, f"--sample TEMPERATURE with {' '.join(alone)}", "none")
    require(sample is None or beam == n_best == 1, "--sample or --beam", "both")
    require(n_best <= beam, "--n-best of at most --beam", f"{n_best} of {beam}")
    trained = load(run, step=step)
    network, meta = trained.model, trained.meta
    sequences = isinstance(network, nn.Seq2Seq)
    require(sequences, "a network from sequences to sequences", f"a {meta['network']['name']}")
    assert isinstance(network, nn.Seq2Seq)
    warn_of_unfinished(trained, step)
    lines = _lines(file)
    tokenizer = texts.kept(Path(run), meta["tokenizer"]) if "tokenizer" in meta else None
    sources = _tokens(trained, lines) if tokenizer is None else tokenizer.arrays(lines)
    require_sound_backend()
    options: dict[str, Any] = {
        "begin": meta["target"]["begin"],
        "end": meta["target"]["end"],
        "maximum_length": maximum_length or meta["target"]["shape"][0],
        "attention": attention is not None,
    }
    search: Any = decoding.greedy
    if sample is not None:
        search = decoding.sample
        options |= {"temperature": sample, "top_k": top_k, "top_p": top_p, "key": key_of(seed)}
    elif beam > 1:
        search = decoding.beam
        options |= {"size": beam, "n_best": n_best, "length_penalty": length_penalty}
    with console.bar("decoding") as on_progress:
        found = sequence.decode(
            network, trained.params, sources, search, on_progress=on_progress, **options
        )
    if found.tokens.ndim == 2:
        found = found._replace(**{
            name: value[:, None]
            for name in ("tokens", "lengths", "finished", "scores", "attention")
            if (value := getattr(found, name)) is not None
        })  # fmt: skip
    read, names = _names(trained, tokenizer)
    text = ""
    for line, hypotheses, scores in zip(lines, found.sequences(), found.scores, strict=True):
        for one, score in zip(hypotheses, scores, strict=True):
            if np.isfinite(score):
                written = _written(one, names, tokenizer)
                text += f"{line}\t{written}\t{score:.4f}\n"
    console.print_raw(text)
    if attention is not None:
        rows = zip(sources["x"], sources["x_length"], strict=True)
        columns = [[read[token] for token in row[:n]] for row, n in rows]
        page = report.write(_attention(lines, columns, names, found), attention)
        print(page, file=sys.stderr)


def _lines(file: str) -> list[str]:
    if file == "-":
        text = sys.stdin.read()
    else:
        require(Path(file).is_file(), "a file of lines, or -", file)
        try:
            text = Path(file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"expected {file} in UTF-8, got {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    require(lines, "at least one line", f"none in {file}")
    return lines


def _tokens(trained: Trained, lines: Sequence[str]) -> dict[str, np.ndarray]:
    """The lines as the network takes them: a number for each character."""
    numbers = {symbol: i for i, symbol in enumerate(trained.meta["input_vocabulary"]) if symbol}
    for i, line in enumerate(lines):
        other = next((symbol for symbol in line if symbol not in numbers), None)
        known = f"lines of the characters {''.join(numbers)}"
        require(other is None, known, f"{other!r} in line {i + 1}, {line!r}")
    length = np.array([len(line) for line in lines])
    x = np.zeros((len(lines), length.max()), np.int32)
    for row, line in zip(x, lines, strict=True):
        row[: len(line)] = [numbers[symbol] for symbol in line]
    return {"x": x, "x_length": length}


def _names(trained: Trained, tokenizer: tokens.Tokenizer | None) -> tuple[list[str], list[str]]:
    """What stands for each token that is read, and for each that is written."""
    if tokenizer is not None:
        marks = ("PADDING", "BEGIN", "END", "UNKNOWN")
        names = [*marks, *(tokenizer.decode([i]) for i in range(len(marks), tokenizer.size))]
        return names, names
    read, written = (trained.meta[f"{side}_vocabulary"] for side in ("input", "target"))
    return [*read], [*written, "BEGIN", "END"]


def _written(one: Sequence[int], names: list[str], tokenizer: tokens.Tokenizer | None) -> str:
    """A hypothesis as it is printed."""
    if tokenizer is None:
        return " ".join([names[token] for token in one])
    text = tokenizer.decode([token for token in one if token >= tokens.UNKNOWN])
    return " ".join(text.split())  # on one line, without tabs


def _attention(
    lines: Sequence[str], columns: list[list[str]], names: list[str], found: decoding.Decoded
) -> Finding:
    """What the last layer took of each token that was read, the mean over its heads."""

    def figure(i: int) -> Figure:
        count = int(found.lengths[i, 0])
        written = [names[token] for token in np.asarray(found.tokens)[i, 0, :count].tolist()]
        looks = found.attention[i, 0, :count, -1, : len(columns[i])]

        def draw(ax: Any) -> None:
            ax.imshow(looks, cmap="Blues", vmin=0, aspect="auto")
            ax.grid(visible=False)
            ax.set_xticks(range(len(columns[i])), columns[i])
            ax.set_yticks(range(count), written)

        return Figure(draw, f"{lines[i]}: {' '.join(written)}.")

    shown = min(len(lines), _SHOWN)
    return Finding(
        name="attention",
        question="Where does the network look while it writes?",
        verdict=f"Where the decoder's last layer looks in {shown} of {len(lines)} lines: each row "
        "is a token that was written, each column one that was read.",
        sections=[Section("Attention", figures=[figure(i) for i in range(shown)])],
        numbers={"lines": len(lines)},
    )
