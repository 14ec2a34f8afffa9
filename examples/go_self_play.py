"""GNU Go plays itself on a small board: the games of the data set go_games.

Run:    python examples/go_self_play.py 2 games.sgf
Time:   a second a game on 1 CPU core
Expect: a file with one game after the other in the Smart Game Format, each from two to eight
        stones at random, with komi 7 and its result by area

Needs the program gnugo (Debian's package of that name) and sgfmill. Those of the data set are the
first 400: `python examples/go_self_play.py 400 go_games.sgf`.
"""

import itertools
import random
import shutil
import subprocess
import sys

from sgfmill import boards, common, sgf

SIZE, KOMI, LEVEL, LONGEST = 9, 7, 1, 162
COLUMNS = "ABCDEFGHJ"


class Player:
    """GNU Go, asked by the Go Text Protocol."""

    def __init__(self, seed):
        program = shutil.which("gnugo", path="/usr/games:/usr/local/bin:/usr/bin")
        if program is None:
            raise SystemExit("expected the program gnugo, found none")
        options = f"--mode gtp --level {LEVEL} --chinese-rules --seed {seed}".split()
        self.process = subprocess.Popen(
            [program, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ask(f"boardsize {SIZE}")
        self.ask(f"komi {KOMI}")

    def ask(self, command):
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(command + "\n")
        stdin.flush()
        lines = itertools.takewhile(str.strip, iter(stdout.readline, ""))
        answer = " ".join(line.strip() for line in lines)
        if not answer.startswith("="):
            raise RuntimeError(f"{command}: {answer}")
        return answer[1:].strip()

    def quit(self):
        self.ask("quit")
        self.process.wait()


def play(seed):
    """One game; the same for the same seed."""
    rng, player, board = random.Random(seed), Player(seed), boards.Board(SIZE)
    game = sgf.Sgf_game(SIZE)
    root = game.get_root()
    for colour, _ in zip(itertools.cycle("bw"), range(2 * rng.randint(1, 4)), strict=False):
        row, column = rng.choice([p for p in board.board_points if board.get(*p) is None])
        player.ask(f"play {colour} {COLUMNS[column]}{row + 1}")
        board.play(row, column, colour)
    for colour in "bw":
        stones = [(r, c) for c_, (r, c) in board.list_occupied_points() if c_ == colour]
        root.set("AB" if colour == "b" else "AW", stones)
    passes = 0
    for colour, _ in zip(itertools.cycle("bw"), range(LONGEST), strict=False):
        answer = player.ask(f"genmove {colour}")
        if answer == "resign":
            root.set("RE", f"{common.opponent_of(colour).upper()}+R")
            break
        move = None if answer == "PASS" else (int(answer[1:]) - 1, COLUMNS.index(answer[0]))
        game.extend_main_sequence().set_move(colour, move)
        passes = passes + 1 if move is None else 0
        if passes == 2:
            break
    if not root.has_property("RE"):
        root.set("RE", player.ask("final_score"))
    root.set("KM", KOMI)
    root.set("PB", "GNU Go 3.8")
    root.set("PW", "GNU Go 3.8")
    player.quit()
    return game.serialise().decode()


games, path = int(sys.argv[1]), sys.argv[2]
with open(path, "w") as file:
    for number in range(games):
        file.write(play(number).replace("\n", "") + "\n")
print(f"{games} games in {path}")
