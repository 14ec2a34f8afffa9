"""A training on rows of a file; run by test_streaming.py.

Run: python streamed.py FOLDER (memory|file) STEPS [checkpoints|resume]
Prints a line of JSON: the digest of the final state, the bytes of the file, the peak of this
process's memory beyond what it had when the step was compiled.
"""

import hashlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
import optax

from jaxml import nn, training
from jaxml.training import losses, sampling, streaming

BATCH = 64


def status(name):
    """Bytes, of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main(folder, where, steps, how=""):
    file = np.load(folder / "x.npy", mmap_mode="r" if where == "file" else None)
    y = np.arange(len(file)) % 10
    model = nn.mlp([file.shape[1], 16, 10])
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optax.adam(1e-3))
    sample, key = sampling.epochs(BATCH), jax.random.key(0)
    data = {"x": file, "y": y}
    source = (data, sample) if where == "memory" else (streaming.rows(data, sample),)
    state = None
    if how == "resume":
        state = training.restore(folder / "run", algorithm.init(key))
        steps -= int(state.step)
    # compiles the step; its memory is not that of the data
    training.fit(algorithm, *source, key=key, steps=2, chunk=1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    hooks = [training.checkpoint(folder / "run")] if how else []
    run = training.fit(
        algorithm, *source, key=key, steps=steps, chunk=150, hooks=hooks, state=state
    )
    digest = hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(run.state)))
    peak = status("VmHWM")
    shown = {"digest": digest.hexdigest(), "file": file.nbytes, "more": peak - before}
    print(json.dumps(shown | {"peak": peak, "steps": int(run.state.step)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
