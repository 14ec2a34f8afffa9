# %% [markdown]
# # Which batch size, which rate?
#
# Larger batches take fewer updates and more examples. From which size on are updates no longer
# saved? A small network on scikit-learn's digits, at five batch sizes with five learning rates and
# two seeds each, all of them in a few compiled programs.

# %%
import jax

from jaxml import data, nn, studies, training
from jaxml.training import losses, metrics, optimizers, sampling

digits = data.load("digits")
model = nn.mlp([64, 32, 10])

# %% [markdown]
# ## A rate for one batch size
# A single short run in which the rate grows shows where the training becomes fast, and where it
# diverges.

# %%
training.find_learning_rate(
    lambda rate: training.supervised(
        model, losses.softmax_cross_entropy, optimizers.momentum(rate, 0.9)
    ),
    digits.train,
    sampling.epochs(64),
    key=jax.random.key(0),
    low=1e-4,
    steps=150,
)

# %% [markdown]
# ## The study
# Every configuration trains until it has 8 % error on the validation rows, or for 20 epochs.

# %%
lanes = studies.grid([16, 32, 64, 128, 256], [0.05, 0.1, 0.2, 0.5, 1.0], momenta=[0.9], seeds=2)
task = studies.task(model, losses.softmax_cross_entropy, {"error": metrics.error})
study = studies.batch_size(
    task,
    digits.train,
    lanes,
    splits={"validation": digits.validation},
    target=studies.Target(0.08, "error", "validation"),
    epochs=20,
    noise=True,
)
study

# %%
study.to_dataframe()[["batch_size", "learning_rate", "seed", "updates", "exit"]].head()

# %% [markdown]
# ## What follows from it
# The updates to the target, each batch size at its own best rate; the critical batch size; the
# noise scale of the gradients, which should predict it.

# %%
found = studies.findings(study)
found

# %%
found.table.to_dataframe()[["batch_size", "learning_rate", "steps", "low", "high"]]

# %% [markdown]
# ## The noise scale before any training is planned
# At a point, from the gradients of single examples: how many must a batch have until their noise is
# as small as the gradient itself?

# %%
params, model_state = task.init(jax.random.key(0))
studies.noise_scale(
    lambda params, rows: losses.softmax_cross_entropy(
        model.apply(params, model_state, rows["x"])[0], rows
    ),
    params,
    digits.train,
)
