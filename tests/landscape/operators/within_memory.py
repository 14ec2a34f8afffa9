"""What looking at a point of a digits MLP takes of memory; run by test_memory.py.

Run: python within_memory.py WHAT HIDDEN[,HIDDEN] BYTES, in a folder of its own
"""

import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxml import data, landscape, nn, training
from jaxml.cli import main
from jaxml.training import losses, optimizers


def problem(hidden):
    """The loss over all digits and a point, of an MLP of tanh."""
    digits = data.load("digits").train
    model = nn.mlp([64, *hidden, 10], activation="tanh")
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(1e-3))
    state = algorithm.init(jax.random.key(0))
    return training.full_loss(algorithm, state, digits), state.params


PROBLEM = """
import sys
sys.path.insert(0, {folder!r})
from within_memory import problem as of
problem = lambda: of({hidden})
"""


def resident(name):
    """Bytes of this process: `VmRSS` now, `VmHWM` at most so far."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def command(hidden, memory):
    """`jaxml landscape` of the point, as a user has it."""
    Path("own.py").write_text(PROBLEM.format(folder=str(Path(__file__).parent), hidden=hidden))
    parts = ["--top", "5", "--lowest", "1", "--density"]
    if hidden != "512,512":  # its count takes 1,500 products
        parts.append("--index")
    bound = ["--memory", f"{memory / 2**30}GiB"]
    return main(["landscape", "own.py:problem", *parts, *bound, "--out", "out"])


CALLS = {
    "command": command,
    "dense": lambda hidden, memory: landscape.hessian(*problem(hidden), memory=memory).dense(),
    "analyze": lambda hidden, memory: landscape.analyze(*problem(hidden), memory=memory),
    "count": lambda hidden, memory: landscape.count_eigenvalues(
        landscape.hessian(*problem(hidden), memory=memory), memory=memory
    ),
}


def measure(what, hidden, memory):
    """The most it had in memory beyond the idle process, and how it ended."""
    jax.jit(lambda x: x @ x)(jnp.ones((8, 8))).block_until_ready()
    idle = resident("VmRSS")
    try:
        ended = CALLS[what](hidden, memory)
    except ValueError as error:
        ended = f"ValueError: {error}"
    if hasattr(ended, "shape"):
        ended = f"matrix of shape {ended.shape}"
    size = sum(leaf.size for leaf in jax.tree.leaves(problem(hidden)[1]))
    peak = max(0, resident("VmHWM") - idle)
    return {"size": size, "idle": idle, "peak": peak, "ended": str(ended)}


if __name__ == "__main__":
    hidden = [int(width) for width in sys.argv[2].split(",")]
    figures = measure(sys.argv[1], hidden, int(sys.argv[3]))
    Path("figures.json").write_text(json.dumps(figures))
