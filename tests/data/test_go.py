"""The rules of Go on positions worked out by hand; records; the games that come along."""

import numpy as np
import pytest

from jaxml import data
from jaxml.data.go_rules import BLACK, PLANES, WHITE, Board
from jaxml.data.sgf_files import from_sgf, positions, read_sgf

SMALL = {".": 0, "x": BLACK, "o": WHITE}


def board(*rows):
    return Board(np.array([[SMALL[point] for point in row] for row in rows], np.int8))


def drawn(position):
    names = {value: name for name, value in SMALL.items()}
    size = position.size
    rows = [position.stones[i : i + size] for i in range(0, size * size, size)]
    return ["".join(names[point] for point in row) for row in rows]


def test_a_move_takes_chains_without_liberties():
    position = board("oox.", "xx..", "....", "....")
    position.play(BLACK, 3)
    assert drawn(position) == ["oox" + "x", "xx..", "....", "...."]
    # two white stones in the corner have no liberty only once black plays none is left: none here
    position = board("oo.x", "xxx.", "....", "....")
    position.play(BLACK, 2)
    assert drawn(position) == ["..xx", "xxx.", "....", "...."]
    assert position.ko is None  # two were taken


def test_two_chains_at_once_and_the_ko():
    position = board("xo.ox", "xx.xx", ".....", ".....", ".....")
    position.play(BLACK, 2)
    assert drawn(position)[0] == "x.x.x"
    assert position.ko is None
    ko = board(".xo.", "x.xo", ".xo.", "....")
    ko.play(WHITE, 5)  # takes the black stone between
    assert drawn(ko) == [".xo.", "xo.o", ".xo.", "...."]
    assert ko.ko == 6
    with pytest.raises(ValueError, match="the ko allows"):
        ko.play(BLACK, 6)
    ko.play(BLACK, 15)
    assert ko.ko is None


def test_illegal_moves():
    position = board("x.o.", "xo..", "o...", "....")
    with pytest.raises(ValueError, match="empty point"):
        position.play(WHITE, 0)
    enclosed = board(".x..", "x...", "....", "....")
    with pytest.raises(ValueError, match="leaves its chain a liberty"):
        enclosed.play(WHITE, 0)
    assert drawn(enclosed)[0] == ".x.."  # as before


def test_planes_of_a_position():
    position = board("xx.", "o..", "...")
    planes = position.planes(WHITE, [3, 0, None, 1])
    names = dict(zip(PLANES, np.moveaxis(planes, -1, 0).astype(int), strict=True))
    assert names["own stones"].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert names["the opponent's stones"].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert names["own chains of 2 liberties"].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert names["the opponent's chains of 2 liberties"][0].tolist() == [1, 1, 0]
    assert names["the move 1 ago"].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert names["the move 4 ago"].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert not names["the move 3 ago"].any()
    assert names["the board"].all()
    np.testing.assert_array_equal(planes[..., :3].sum(-1), 1)


GAME = "(;FF[4]GM[1]SZ[3]RE[B+1]AB[aa];W[ab];B[cc];W[];B[bb])"


def test_a_record_becomes_positions(tmp_path):
    (game,) = read_sgf(GAME.encode(), "one.sgf")
    found = list(positions(game))
    # "ab" is column a, row b from the top, that is the middle one; rows count from the bottom
    assert [move for _, move in found] == [3, 2, 4]
    (tmp_path / "one.sgf").write_text(GAME)
    (tmp_path / "two.sgf").write_text("(;SZ[3]RE[B+1]AB[cc];W[cb];B[aa];W[];B[bb])")
    dataset = from_sgf(tmp_path, size=3, validation=0, test=0)
    # the second game is the first, turned by half a circle
    assert dataset.train["game"].tolist() == [0, 0, 0]
    assert dataset.meta["counts"]["train"] == 3


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (GAME.replace("RE[B+1]", ""), "its result .RE., got game 1 of one.sgf"),
        (GAME.replace("B[cc]", "B[ab]"), "move 2 of game 1 of one.sgf: .* empty point"),
        (GAME.replace("SZ[3]", "SZ[5]"), "boards of 3 by 3 points, got game 1 of one.sgf, of 5"),
        ("not a game", "Smart Game Format, got one.sgf"),
        ("", "Smart Game Format, got one.sgf"),
    ],
)
def test_bad_records(tmp_path, record, expected):
    (tmp_path / "one.sgf").write_text(record)
    with pytest.raises(ValueError, match=expected):
        from_sgf(tmp_path, size=3)
    with pytest.raises(ValueError, match=r"a file in the Smart Game Format, got .*none"):
        from_sgf(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"a folder with .*sgf, got .*empty"):
        from_sgf(tmp_path / "empty")


def test_the_games_that_come_along():
    games = data.load("go_games")
    assert sum(games.meta["counts"].values()) == 14_371
    seen = [set(split["game"].tolist()) for split in games.splits.values()]
    assert [len(numbers) for numbers in seen] == [279, 40, 80]  # one repeats others throughout
    assert len(set.union(*seen)) == 399
    for split in games.splits.values():
        rows, empty = np.arange(len(split["y"])), split["x"][..., 2].reshape(len(split["y"]), -1)
        assert empty[rows, split["y"]].all()  # all moves go to empty points
        assert set(np.unique(split["x"])) == {0, 1}
        # no chain stands without a liberty
        np.testing.assert_array_equal(split["x"][..., 0], split["x"][..., 3:7].sum(-1))
        np.testing.assert_array_equal(split["x"][..., 1], split["x"][..., 7:11].sum(-1))
    # the last move was the opponent's, except after setup stones and passes
    last = games.train["x"][..., 11] > 0
    assert (games.train["x"][..., 1][last] == 1).all()
    assert last.any((1, 2)).mean() > 0.9
