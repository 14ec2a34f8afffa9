# %% [markdown]
# # A training, and a claim of the course
#
# A training shows its progress as it runs, keeps the history of everything it measures, and is a
# plain value afterwards. An experiment of the course puts a sentence of a lecture to the test, and
# says whether it holds.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

from jaxml import course, data, landscape, nn, training
from jaxml.training import losses, metrics, optimizers, sampling

digits = data.load("digits")
model = nn.mlp([64, 32, 10])

# %% [markdown]
# ## One training

# %%
algorithm = training.supervised(
    model,
    losses.softmax_cross_entropy,
    optimizers.adam(3e-3),
    metrics={"accuracy": metrics.accuracy},
)
run = training.fit(
    algorithm,
    digits.train,
    sampling.epochs(64),
    key=jax.random.key(0),
    steps=600,
    hooks=[training.progress()],
)
run

# %%
run.to_dataframe().tail()

# %%
measures = {"accuracy": metrics.accuracy, "cross-entropy": losses.softmax_cross_entropy}
training.evaluate(model, run.state, digits.test, measures)

# %% [markdown]
# ## Eight seeds and as many rates
# One compiled program; a diverged lane disturbs no other.

# %%
rates = np.geomspace(1e-4, 1e-1, 8, dtype=np.float32)
many = training.fit_many(
    lambda rate: training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(rate)),
    digits.train,
    sampling.epochs(64),
    keys=jax.random.split(jax.random.key(0), 8),
    hyperparameters={"rate": rates},
    steps=300,
)
many

# %% [markdown]
# Results draw on axes that are given, beside whatever else one draws:

# %%
_, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
many.plot(left, figure=1)
right.plot(rates, many.history["loss"][:, -50:].mean(1), "o-")
right.set(xlabel="learning rate", ylabel="mean loss of the last 50 steps", xscale="log")
plt.show()

# %% [markdown]
# ## A saddle of the lecture
# The course's experiments are found by name, and say whether what they expect is what they find.

# %%
course.perform(course.find("course-saddle"))

# %%
course.perform(course.find("momentum-crosses"))

# %% [markdown]
# Each ends with what to change. Here: a point of the valley (1 − w₁w₂)² = 0 in place of the origin.

# %%
landscape.analyze(lambda w: (1 - w[0] * w[1]) ** 2, np.array([2.0, 0.5]), float64=True)

# %% [markdown]
# All chapters, and what was last recorded of them: `jaxml course`, or [the course](../course.md).
