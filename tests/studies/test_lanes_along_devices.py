"""A study whose lanes lie on four devices, in a process of its own."""

import os
import subprocess
import sys

import pytest

CODE = """
import jax, numpy as np, optax
from jaxml import data, nn, studies
from jaxml.studies.sweep import accumulation, executor
from jaxml.training import losses, metrics

assert jax.device_count() == 4
digits = data.load("digits")
task = studies.task(nn.mlp([64, 8, 10]), losses.softmax_cross_entropy, {"error": metrics.error})
# five lanes a seed: three devices' places stand empty
lanes = studies.grid([16, 64], [0.01, 0.03, 0.1], seeds=2)
lanes = lanes.take([i for i in range(len(lanes)) if i % 6 != 5])
own = {"lion": optax.lion}
lanes += studies.grid([16], [1e-3], optimizers=["lion"], seeds=2, transformations=own)
placed = []
whole = accumulation.advance

class Watched:
    lower = whole.lower
    def __call__(self, settings, pack, state, *rest):
        placed.append({len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)})
        return whole(settings, pack, state, *rest)

executor.advance = Watched()
options = {"splits": {"train": digits.train}, "epochs": 4, "keep_params": True}
options["transformations"] = own
mesh = jax.make_mesh((4,), ("lanes",))
along = studies.batch_size(task, digits.train, lanes, mesh=mesh, **options)
assert placed and all(4 in devices for devices in placed), placed
one = studies.batch_size(task, digits.train, lanes, **options)
np.testing.assert_allclose(along.params, one.params, atol=1e-5)
np.testing.assert_array_equal(along.updates, one.updates)
assert set(one.exits) == {"budget"}
print("the same")
"""


@pytest.mark.slow
def test_lanes_along_devices():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the same\n")
