"""How many will ride tomorrow: an ensemble that says how sure it is, for each day of two years.

Run:    python examples/forecast.py [forecast.html]
Time:   a minute on 2 CPU cores
Expect: an error of about 1.5 thousand riders on the last two years, less than half of that of the
        same day of the week before (3.31), on every day of the week and in every season; four in
        five days within the interval of 80 %, though weekdays and holidays differ
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, nn, report, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.training import losses, optimizers, sampling, schedules

LAGS, SEEDS, STEPS, NOMINAL = 56, 5, 2840, 0.8
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SEASONS = ("winter", "spring", "summer", "autumn")

riders = data.load("chicago_ridership", lags=LAGS)
mean, scale = riders.train["x"].mean(), riders.train["x"].std()
splits = {
    name: {key: (values - mean) / scale for key, values in split.items()}
    for name, split in riders.splits.items()
}
model = nn.mlp([LAGS, 100, 100, 100, 100, 1])
algorithm = training.supervised(model, losses.mse, optimizers.adam(schedules.cosine(1e-3, STEPS)))
keys = jnp.stack([jax.random.key(seed) for seed in range(SEEDS)])
runs = training.fit_many(algorithm, splits["train"], sampling.epochs(64), keys=keys, steps=STEPS)


def predict(split):
    """Thousand riders: the mean of the networks, of shape (days,)."""
    each = jax.vmap(lambda params: model.apply(params, {}, splits[split]["x"])[0])
    return np.asarray(each(runs.state.params)).mean(0)[:, 0] * scale + mean


# intervals: how far off the days were that no network was trained on, see Vovk et al. 2005
off = np.abs(riders.validation["y"][:, 0] - predict("validation"))
rank = int(np.ceil(NOMINAL * (len(off) + 1))) - 1
half = np.sort(off)[rank]

truth, forecast = riders.test["y"][:, 0], predict("test")
last_week = riders.test["x"][:, -7]
days = np.datetime64(riders.meta["span"][1]) - np.arange(len(truth))[::-1]
weekday = (days.astype("datetime64[D]").astype(int) + 3) % 7  # 1 January 1970 was a Thursday
season = (days.astype("datetime64[M]").astype(int) + 1) % 12 // 3  # winter begins in December
inside = np.abs(truth - forecast) <= half


def rmse(predicted, rows=slice(None)):
    return float(np.sqrt(np.mean((predicted - truth)[rows] ** 2)))


def row(name, rows):
    return (
        name, f"{rows.sum()}", f"{rmse(forecast, rows):.2f}", f"{rmse(last_week, rows):.2f}",
        f"{inside[rows].mean():.0%}",
    )  # fmt: skip


def table(names, groups):
    rows = [row(name, groups == i) for i, name in enumerate(names)]
    return Table(("", "days", "error", "same day last week", "within the interval"), rows)


def draw(ax):
    shown = slice(-120, None)
    ax.fill_between(days[shown], (forecast - half)[shown], (forecast + half)[shown], alpha=0.25)
    ax.plot(days[shown], forecast[shown], linewidth=1.2, label="forecast, and 80 % interval")
    ax.plot(days[shown], truth[shown], ".", markersize=4, color="black", label="riders")
    ax.set_ylabel("thousand riders")
    ax.set_ylim(0, 1.25 * truth[shown].max())
    ax.figure.autofmt_xdate()
    ax.legend(loc="upper right", ncols=2, frameon=False)


def scatter(ax):
    for i, name in enumerate(("Monday to Friday", "Saturday and Sunday")):
        rows = (weekday >= 5) == i
        ax.plot(forecast[rows], truth[rows], ".", markersize=3, label=name)
    ax.axline((10, 10), slope=1, color="grey", linewidth=0.8)
    ax.set(xlabel="forecast, thousand riders", ylabel="riders, thousand")
    ax.legend(frameon=False)


error, before = rmse(forecast), rmse(last_week)
found = Finding(
    name="forecast",
    question="How many will ride tomorrow?",
    verdict=f"The forecast is off by {error:.2f} thousand riders on {len(truth)} days, the same "
    f"day of the week before by {before:.2f}; {inside.mean():.0%} of the days lie within "
    f"±{half:.2f}, the interval of {NOMINAL:.0%}.",
    sections=[
        Section("The last four months", figures=[
            Figure(draw, "Riders by day as points, the forecast as a line through them."),
            Figure(scatter, "Riders against forecast: two clouds along the diagonal."),
        ]),
        Section("By day of the week", table=table(WEEKDAYS, weekday)),
        Section("By season", table=table(SEASONS, season)),
    ],
    numbers={"error": error, "same_day_last_week": before, "half_width": float(half),
             "coverage": float(inside.mean())},
)  # fmt: skip
print(found.verdict)
for name, group, names in (("weekday", weekday, WEEKDAYS), ("season", season, SEASONS)):
    print(f"{name:10}  error  same day last week  within the interval")
    for i, title in enumerate(names):
        _, _, own, week, share = row(title, group == i)
        print(f"{title:10}  {own:>5}  {week:>18}  {share:>19}")
if len(sys.argv) > 1:
    print(report.write(found, sys.argv[1]))
