"""From digits on disk to a certified critical point.

Run:    python examples/quickstart.py [OUT.html]
Time:   about half a minute on 2 CPU cores
Expect: after Adam the point is not critical; polished, it is a certified minimum
"""

import sys

import jax

from jaxml import data, landscape, nn, report, training
from jaxml.training import losses, metrics, optimizers, sampling

digits = data.load("digits")
model = nn.mlp([64, 8, 10], activation="tanh")
print(nn.summary(model))

algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(1e-2), l2=1e-3)
run = training.fit(
    algorithm,
    digits.train,
    sampling.epochs(64),
    key=jax.random.key(0),
    steps=2_000,
    hooks=[training.progress()],
)
print("test", training.evaluate(model, run.state, digits.test, {"accuracy": metrics.accuracy}))

loss = training.full_loss(algorithm, run.state, digits.train)  # params -> scalar
print("after Adam:", landscape.analyze(loss, run.state.params, float64=True))

point = landscape.find_minimum(loss, run.state.params)
print("polished:", point)

if len(sys.argv) > 1:
    print(report.write(point, sys.argv[1]))
