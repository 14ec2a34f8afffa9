"""A saddle that holds SGD and how to leave it; saddle-free Newton against Adam on a plateau.

Run:    python examples/leaving_saddles.py leaving_saddles.png
Time:   about a minute on 2 CPU cores
Expect: SGD stays on the saddle, a minimum with a dead unit, for 10,000 steps; with the hook it
        leaves, as perturbed gradient descent does, for less than two thirds of the loss. On the
        plateau of an autoencoder saddle-free Newton takes some 75 steps to a loss of 0.0125, Adam
        at the best of three rates some 2,400, at a 47th of the work each: counted in gradients
        Adam is ahead, by 1.5. In the end both are at 0.0117, to 3 %
"""

import sys

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

from jaxml import data, landscape, nn, training
from jaxml.course.chapter_02.critical_points import saddle_free_newton
from jaxml.studies.topics.staircase import add_dead_unit
from jaxml.training import losses, optimizers, saddles, sampling

KEY = jax.random.key(0)
digits = data.load("digits").train


# 1. A saddle: the minimum of a network with 3 hidden units, and a fourth whose weights are zero.
def classifier(width, optimizer):
    model = nn.mlp([64, width, 10], activation="tanh")
    return training.supervised(model, losses.softmax_cross_entropy, optimizer, l2=1e-3)


narrow = classifier(3, optimizers.adam(1e-2))
state = training.fit(narrow, digits, sampling.epochs(64), key=KEY, steps=1000).state
minimum = landscape.descend(training.full_loss(narrow, state, digits), state.params, max_steps=2000)
saddle = jax.tree.map(jnp.asarray, add_dead_unit(minimum.params))
print(f"on the saddle: loss {minimum.loss:.4f}")

curves = {}
for name, optimizer, sample, hooked in (
    ("SGD", optimizers.sgd(0.1), sampling.epochs(64), False),
    ("SGD with the hook", optimizers.sgd(0.1), sampling.epochs(64), True),
    ("perturbed gradient descent", saddles.perturbed_gradient_descent(0.5), sampling.full(), False),
):
    algorithm = classifier(4, optimizer)
    start = algorithm.init(KEY).replace(params=saddle)
    loss = training.full_loss(algorithm, start, digits)

    def full(state, algorithm=algorithm):
        return training.full_loss(algorithm, state, digits)

    leaving = landscape.leaving_saddles(full)
    seen = training.evaluation(lambda state, loss=loss: {"loss": float(loss(state.params))})
    hooks = [leaving, seen] if hooked else [seen]
    run = training.fit(
        algorithm, digits, sample, key=KEY, steps=10_000, chunk=500, state=start, hooks=hooks
    )
    curves[name] = ([0, *seen.history["step"]], [minimum.loss, *seen.history["loss"]])
    alive = float(abs(run.state.params["dense_0"]["kernel"][:, 3]).max())
    print(f"{name}: loss {seen.history['loss'][-1]:.4f} after 10,000 steps, ", end="")
    print(f"the unit's largest weight {alive:.2g}", end="")
    print(f", escapes at steps {[*leaving.escapes]}" if hooked else "")

# 2. A plateau: an autoencoder with four layers, begun near zero.
race = saddle_free_newton("full")
target = race.numbers["target"]
for name, reached in race.numbers["steps"].items():
    work, end = race.numbers["work"][name], race.numbers["ends"][name]
    print(f"{name}: loss {target} after {reached:,} steps, {work:,.0f} gradients' work")
    print(f"    {end:.5f} after all")

if len(sys.argv) > 1:
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    saddle, by_step, by_work = figure.subplots(1, 3)
    for name, (at, values) in curves.items():
        saddle.plot(at, values, ".-", label=name)
    saddle.set(xlabel="step", ylabel="objective (loss + L2)", ylim=(0, None))
    saddle.legend(frameon=False, fontsize=9)
    race.plot(by_step)
    race.plot(by_work, figure=1)
    figure.savefig(sys.argv[1], dpi=110)
