"""A `Dataset` from records of games of Go, in the Smart Game Format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.data.dataset import Dataset, Split
from jaxml.data.go_rules import BLACK, PLANES, WHITE, Board
from jaxml.data.splits import generator
from jaxml.data.splits import split as split_rows


class Game(NamedTuple):
    """One record: stones set up at the start, and (colour, (row, column) or None) for each move."""

    title: str
    size: int
    setup: np.ndarray
    moves: Sequence[tuple[int, tuple[int, int] | None]]


def read_sgf(content: bytes, title: str) -> list[Game]:
    """The games of a file in the Smart Game Format, main lines only.

    Raises:
        ValueError: if it is none, or a game in it has no result; naming the file and the game.
    """
    try:
        from sgfmill import sgf, sgf_grammar, sgf_moves  # noqa: PLC0415 - of an extra
    except ImportError as error:
        expected = "expected the package sgfmill (pip install 'jaxml[go]')"
        raise ValueError(f"{expected}, got none") from error
    try:
        trees = sgf_grammar.parse_sgf_collection(content)
    except ValueError as error:
        expected = "expected a record in the Smart Game Format"
        raise ValueError(f"{expected}, got {title}: {error}") from error
    games = []
    for number, tree in enumerate(trees, 1):
        name = f"game {number} of {title}"
        try:
            game = sgf.Sgf_game.from_coarse_game_tree(tree)
            board, plays = sgf_moves.get_setup_and_moves(game)
        except ValueError as error:
            raise ValueError(f"expected a legal game, got {name}: {error}") from error
        result = game.get_root().get("RE") if game.get_root().has_property("RE") else None
        require(result, "a game with its result (RE)", f"{name} without")
        setup = np.zeros((board.side, board.side), np.int8)
        for colour, (row, column) in board.list_occupied_points():
            setup[row, column] = BLACK if colour == "b" else WHITE
        moves = [(BLACK if colour == "b" else WHITE, place) for colour, place in plays]
        games.append(Game(name, board.side, setup, moves))
    return games


def positions(game: Game) -> Iterator[tuple[np.ndarray, int]]:
    """Planes and move for every move of a game that is no pass.

    Raises:
        ValueError: if a move is illegal; naming the game and the move.
    """
    board, last = Board(game.setup), [None] * 4
    for number, (colour, place) in enumerate(game.moves, 1):
        if place is None:
            board.ko, point = None, None
        else:
            point = place[0] * game.size + place[1]
            planes = board.planes(colour, last)
            try:
                board.play(colour, point)
            except ValueError as error:
                raise ValueError(f"move {number} of {game.title}: {error}") from error
            yield planes, point
        last = [point, *last[:3]]


def from_sgf(
    path: str | Path,
    *,
    size: int = 9,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Games of Go from a file in the Smart Game Format, or from all `*.sgf` of a folder.

    The splits have no game in common, nor a position, turned or mirrored: of those that come
    again, the first is kept.

    Args:
        path: of the file or the folder.
        size: points on a side of the board.
        validation: fraction of the games, in [0, 1); 0 makes no such split.
        test: likewise.
        seed: of the split; a whole number of at least 0.

    Returns:
        `x` float32 `(N, size, size, 17)`, what `meta["planes"]` says of each point, seen by whose
        turn it is; `y` int32 `(N,)`, the point moved to, `row * size + column`; `game` int32
        `(N,)`. Rows run as in the records, passes are left out.

    Raises:
        ValueError: if there is no record, one is damaged or without a result, on another board
            or with an illegal move (naming file, game and move), or if an option is out of range.

    Reference:
        Silver et al. (2016), Nature 529:484-489, extended data table 2, for the kind of planes.
    """
    files = sorted(Path(path).glob("*.sgf")) if Path(path).is_dir() else [Path(path)]
    require(files, "a folder with *.sgf", path)
    games = []
    for file in files:
        require(file.is_file(), "a file in the Smart Game Format", file)
        games += read_sgf(file.read_bytes(), file.name)
    meta = {"name": Path(path).stem, "source": "games of the caller", "licence": "not stated"}
    return dataset_of(games, size, validation, test, seed, {**meta, "citation": None})


def dataset_of(
    games: Sequence[Game],
    size: int,
    validation: float,
    test: float,
    seed: int,
    meta: dict[str, Any],
) -> Dataset:
    """As `from_sgf`, from games."""
    size = require_positive_int("size", size)
    for game in games:
        got = f"{game.title}, of {game.size} by {game.size}"
        require(game.size == size, f"boards of {size} by {size} points", got)
    seen: set[bytes] = set()
    x, y, of = [], [], []
    for number, game in enumerate(games):
        for planes, move in positions(game):
            key = _canonical(planes[..., :2])
            if key not in seen:
                seen.add(key)
                x.append(planes)
                y.append(move)
                of.append(number)
    rows = {
        "x": np.stack(x).astype(np.float32),
        "y": np.array(y, np.int32),
        "game": np.array(of, np.int32),
    }
    parts = split_rows(
        {"x": np.arange(len(games))}, validation=validation, test=test, rng=generator(seed)
    )

    def take(part: Split | None) -> Split | None:
        if part is None:
            return None
        chosen = np.isin(rows["game"], part["x"])
        return {name: values[chosen] for name, values in rows.items()}

    train, held_out, last = map(take, parts)
    assert train is not None
    description = f"moves of {len(games)} games of Go on {size} by {size} points"
    known = {"task": "classification", "classes": size**2, "description": description}
    return Dataset(train, held_out, last, meta={**meta, **known, "planes": PLANES})


def _canonical(stones: np.ndarray) -> bytes:
    """The same for a position turned or mirrored."""
    turned = [np.rot90(stones, k) for k in range(4)]
    return min(np.ascontiguousarray(board).tobytes() for t in turned for board in (t, t[:, ::-1]))
