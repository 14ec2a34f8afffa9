"""How many will ride tomorrow: a linear model on the last 1, 7, 28 and 56 days.

Run:    python examples/lag_features.py
Time:   5 seconds on 2 CPU cores; the first time it fetches up to 50 MB
Expect: error on the last 730 days, in thousand riders: 6.62 from one day, 3.07 from 7 (the riders
        have a weekly cycle), 2.48 from 28, 2.38 from 56; least squares gives the same
"""

import jax
import numpy as np

from jaxml import data, nn, training
from jaxml.training import losses, optimizers, sampling


def root_mean_square(error):
    return float(np.sqrt(np.mean(error**2)))


week = data.load("chicago_ridership", lags=7).test
print(f"same day last week: {root_mean_square(week['x'][:, :1] - week['y']):.2f}")

for lags in (1, 7, 28, 56):
    riders = data.load("chicago_ridership", lags=lags, validation=0)
    x, y = riders.train["x"], riders.train["y"]
    mean, scale = x.mean(), x.std()  # the same for every lag: it is one series
    train, test = (
        {key: (values - mean) / scale for key, values in split.items()}
        for split in (riders.train, riders.test)
    )
    algorithm = training.supervised(
        nn.linear(lags, 1), losses.mse, optimizers.momentum(learning_rate=0.03)
    )
    run = training.fit(algorithm, train, sampling.full(), key=jax.random.key(0), steps=3_000)
    layer = run.state.params["dense_0"]
    prediction = test["x"] @ layer["kernel"] + layer["bias"]
    error = root_mean_square(prediction - test["y"]) * scale

    design, target = (np.column_stack([part, np.ones(len(part))]) for part in (x, riders.test["x"]))
    least_squares = target @ np.linalg.lstsq(design.astype(float), y)[0] - riders.test["y"]
    print(f"{lags:2} days: {error:.2f}, least squares {root_mean_square(least_squares):.2f}")
