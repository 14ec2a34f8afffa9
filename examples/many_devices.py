"""One training and one Hessian on all devices; on a CPU, on as many as are forced.

Run:    XLA_FLAGS=--xla_force_host_platform_device_count=8 python examples/many_devices.py
Time:   about a quarter of a minute on 2 CPU cores
Expect: the Hessian's extreme eigenvalues of 8 devices are those of one, to 1e-5
"""

import jax
import numpy as np

from jaxml import data, landscape, nn, training
from jaxml.training import losses, optimizers, sampling

digits = data.load("digits").train
mesh = jax.make_mesh((jax.device_count(),), ("data",))
model = nn.mlp([64, 4, 10], activation="tanh")
algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(1e-2))
run = training.fit(
    algorithm, digits, sampling.epochs(64), key=jax.random.key(0), steps=200, mesh=mesh
)
print(f"loss {run.history['loss'][-1]:.4f}")

ends = []
for devices in (mesh, None):
    loss = training.full_loss(algorithm, run.state, digits, mesh=devices)
    matrix = landscape.hessian(loss, jax.device_get(run.state.params), mesh=devices).dense()
    ends.append(np.linalg.eigvalsh(matrix)[[0, -1]])
print(f"eigenvalues {ends[0][0]:.4f} to {ends[0][1]:.4f} on {mesh.size} devices")
assert np.allclose(*ends, rtol=1e-5)
