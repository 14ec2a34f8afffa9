"""Deep against wide."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxml import data, nn, studies
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.curve_fits import fit_curve
from jaxml.course.experiment import Effort
from jaxml.training import losses, metrics

Rows = dict[str, np.ndarray]
Splits = tuple[Rows, Rows, Rows]


def tents(effort: Effort = "quick") -> Finding:
    """K layers of two neurons fold the line 2^K times, if built; training does not find it."""
    quick = effort == "quick"
    depths = [2, 4] if quick else list(range(1, 11))
    deep, shallow = {}, {}
    for depth in depths:
        model, params = nn.mlp([1, *[2] * depth, 1]), studies.tents(depth)
        deep[depth] = studies.linear_pieces(
            lambda x, model=model, params=params: model.apply(params, {}, x[None, None])[0][0, 0],
            resolution=2**14,
        )
        wide = nn.mlp([1, 2 * depth, 1])
        random = wide.init(key(0))[0]
        random["dense_0"]["bias"] = -jnp.linspace(0.05, 0.95, 2 * depth)
        random["dense_0"]["kernel"] = jnp.ones((1, 2 * depth))
        shallow[depth] = studies.linear_pieces(
            lambda x, wide=wide, random=random: wide.apply(random, {}, x[None, None])[0][0, 0],
            resolution=2**14,
        )
    x = np.linspace(0, 1, 2**4 * 16 + 1)
    folded = nn.mlp([1, 2, 2, 2, 2, 1])
    y = np.asarray(folded.apply(studies.tents(4), {}, x[:, None])[0])[:, 0]
    nets = {"4 layers of 2": folded, "1 layer of 64": nn.mlp([1, 64, 1])}
    seeds, steps = (5, 500) if quick else (10, 5000)
    trained = {
        name: fit_curve(model, x, y, seeds=seeds, steps=steps)
        for name, model in list(nets.items())[: 1 if quick else 2]
    }
    errors = {name: found[0] for name, found in trained.items()}
    constant = float(y.std())  # of the best constant
    reached = {name: float((e < 0.1 * constant).mean()) for name, e in errors.items()}
    holds = all(deep[k] == 2**k and shallow[k] <= 2 * k + 1 for k in depths)
    figures = [
        pictures.curves(
            {"K layers of two": (depths, list(deep.values())),
             "one layer of 2K": (depths, list(shallow.values()))},
            "Pieces against K on a logarithmic scale: a straight line for depth, far below it the "
            "single layer.",
            style="o-", xlabel="K", ylabel="linear pieces", yscale="log",
        ),
        pictures.curves(
            {"built, 4 layers of 2": (x, y),
             **{f"trained, {name}": (x, line) for name, (_, line) in trained.items()}},
            "A sawtooth of 16 straight pieces, built; the best of the trained networks follow few "
            "of its teeth or none.",
            xlabel="x", ylabel="y", ylim=(-0.1, 1.5),
        ),
    ]  # fmt: skip
    table = Table(
        ("16 pieces by 4 layers of 2", "rmse", "least", "most"),
        [
            ("built", "0", "", ""),
            ("a constant", f"{constant:.3f}", "", ""),
            *(
                (f"trained, {name}, {len(e)} starts", f"{e.mean():.3f}", f"{e.min():.3f}",
                 f"{e.max():.3f}")
                for name, e in errors.items()
            ),
        ],
    )  # fmt: skip
    k = depths[-1]
    told = " and ".join(f"{e.mean():.2f} with {name}" for name, e in errors.items())
    return Finding(
        name="tents",
        question="What does depth buy that width does not, and does training find it?",
        verdict=f"{k} layers of two neurons make {deep[k]:,} linear pieces; one layer of the same "
        f"{2 * k} neurons makes {shallow[k]}. Trained from random starts on the sawtooth of 16 "
        f"pieces that 4 layers of 2 can be, the root mean square error is {told}, where a constant "
        f"has {constant:.2f}: {reached['4 layers of 2']:.0%} of the deep networks come within a "
        "tenth of that.",
        sections=[
            Section("Folding the line", figures=figures[:1]),
            Section("Expressive is not trainable", figures=figures[1:], table=table),
        ],
        numbers={
            "layers": depths, "deep": list(deep.values()), "shallow": list(shallow.values()),
            "rmse": {name: e.tolist() for name, e in errors.items()},
            "rmse_of_a_constant": constant,
        },
        expected="K layers of two ReLU make 2^K pieces, one layer of 2K at most 2K + 1; trained on "
        "16 pieces, fewer than half of the deep networks come within a tenth of a constant's error",
        holds=bool(holds and reached["4 layers of 2"] < 0.5),
    )  # fmt: skip


def deep_against_fat(effort: Effort = "quick") -> Finding:
    """Layers at equal numbers of parameters, on speech, on images and on a parity of bits."""
    quick = effort == "quick"
    # name: rows to train on, to choose the rate by and to test; parameters, epochs
    tasks: dict[str, tuple[Splits, int, float]] = {"parity of 4 bits": (_parity(), 2000, 60)}
    if not quick:
        tasks = {
            "vowels from letters": (_spellings(), 10_000, 8),
            "clothes": (_clothes(), 20_000, 20),
            **tasks,
        }
    layers, seeds = ((1, 4), 3) if quick else ((1, 2, 4, 8), 8)
    lanes = studies.grid(
        [32], [1e-2] if quick else [1e-3, 3e-3, 1e-2, 3e-2], optimizers=["adam"],
        schedules=["cosine"], seeds=seeds,
    )  # fmt: skip
    found = {
        name: studies.depths(
            lambda widths: studies.task(
                nn.mlp(widths), losses.softmax_cross_entropy, {"error": metrics.error}
            ),
            train, validation, lanes, inputs=train["x"].shape[1],
            outputs=int(train["y"].max()) + 1, size=size, depth=layers, epochs=epochs,
            by="validation error", test=test, noise=False, resolution=1.0, microbatches=[32],
        )
        for name, ((train, validation, test), size, epochs) in tasks.items()
    }  # fmt: skip
    half = stats.t.ppf(0.975, seeds - 1)  # of a 95 % interval, in standard errors
    each = {name: [_errors_of(depth) for depth in depths] for name, depths in found.items()}
    versus = {
        name: {n: _compared(e, errors[0]) for n, e in zip(layers[1:], errors[1:], strict=True)}
        for name, errors in each.items()
    }
    won, lost = (
        {name: [n for n, said in than.items() if said == word] for name, than in versus.items()}
        for word in ("less", "more")
    )
    figure = pictures.curves(
        {
            name: (layers, [e.mean() for e in errors], [half * stats.sem(e) for e in errors])
            for name, errors in each.items()
        },
        "Test error over the number of layers, one line for each data set, with intervals.",
        style="o-", xlabel="hidden layers", ylabel="test error", ylim=(0, None),
        xticks=layers, xticklabels=layers,
    )  # fmt: skip
    rows = [
        (
            name, str(n), str(d.widths[1]), f"{d.size:,}", f"{d.learning_rate:g}",
            f"{d.train_loss:.2g}", f"{e.mean():.1%} ± {half * stats.sem(e):.1%}", against,
        )
        for name, depths in found.items()
        for n, d, e, against in zip(
            layers, depths, each[name], ("", *versus[name].values()), strict=True
        )
    ]  # fmt: skip
    table = Table(
        ("data", "layers", "width", "parameters", "rate", "loss in training", "test error",
         "than one layer"), rows,
    )  # fmt: skip
    expected = "parity learned from few rows: depth does not win, chance being 50 %"
    holds = not any(won.values()) and each["parity of 4 bits"][0].mean() < 0.25
    if not quick:
        expected = (
            "on one of the data sets at least some deeper network errs less than one layer, on "
            "another none does"
        )
        holds = any(won.values()) and not all(won.values())
    return Finding(
        name="deep-against-fat",
        question="At equal parameters, is a deep network better than a fat one?",
        verdict=f"Against one layer of as many parameters, at the rate that validates best, over "
        f"{seeds} seeds: " + "; ".join(_told(n, layers, won[n], lost[n], each[n]) for n in found)
        + f". Depth wins on {sum(map(bool, won.values())) or 'none'} of {len(won)}.",
        sections=[
            Section(
                "Layers at equal parameters",
                "The rate is that of the lowest mean error in validation, for every shape. "
                f"Intervals are of 95 % over {seeds} seeds, which draw the network and the order; "
                "the rows are the same. “Less” and “more” are beyond a 99 % interval of the "
                "difference from one layer (Welch). On 309 hours of telephone speech Seide, Li and "
                "Yu (2011) found a word error of 17.1 % with 7 layers of 2,048 and of 22.1 % with "
                "one of 16k; here are at most 12,000 rows, and plain layers without pre-training.",
                figures=[figure], table=table,
            )
        ],
        numbers={
            "layers": list(layers),
            "test_error": {n: [e.tolist() for e in v] for n, v in each.items()},
            "parameters": {n: [d.size for d in v] for n, v in found.items()},
            "rate": {n: [d.learning_rate for d in v] for n, v in found.items()},
            "train_loss": {n: [d.train_loss for d in v] for n, v in found.items()},
            "less": won, "more": lost,
        },
        expected=expected,
        holds=bool(holds),
    )  # fmt: skip


def _errors_of(depth: studies.Depth) -> np.ndarray:
    """Each seed's test error at the rate that was chosen."""
    study = depth.study
    return study.last("test error")[study.lanes.learning_rate == depth.learning_rate]


def _compared(errors: np.ndarray, others: np.ndarray) -> str:
    """Whether errors are less or more than others, beyond a 99 % interval of the difference."""
    if errors.std() == others.std() == 0:
        return "the same" if errors[0] == others[0] else "less" if errors[0] < others[0] else "more"
    chance = np.asarray(stats.ttest_ind(errors, others, equal_var=False))[1]
    if chance > 0.01:
        return "not told apart"
    return "less" if errors.mean() < others.mean() else "more"


def _told(
    name: str, layers: Sequence[int], won: list[int], lost: list[int], each: list[np.ndarray]
) -> str:
    """What became of one data set, in words."""
    errors = dict(zip(layers, (f"{e.mean():.1%}" for e in each), strict=True))
    says = [
        f"{word} with " + ", ".join(f"{n} ({errors[n]})" for n in which)
        for word, which in (("less", won), ("more", lost))
        if which
    ]
    return f"{name}, {errors[1]} with one: " + (" and ".join(says) or "no depth is told apart")


def _spellings(letters: int = 8) -> Splits:
    """The first vowel of English words, from their first letters."""
    words = data.load("cmudict", stress=False, seed=1)
    vowels = [i for i, name in enumerate(words.meta["target_vocabulary"]) if name[:1] in [*"AEIOU"]]

    def rows(split: str, count: int) -> Rows:
        x, y = (words.splits[split][k] for k in ("x", "y"))
        spoken = np.isin(y, vowels)
        x, y, spoken = (a[spoken.any(1)][:count] for a in (x, y, spoken))
        first = y[np.arange(len(y)), spoken.argmax(1)]
        one_hot = np.eye(len(words.meta["input_vocabulary"]), dtype=np.float32)[x[:, :letters]]
        return {
            "x": one_hot.reshape(len(x), -1),
            "y": np.searchsorted(vowels, first).astype(np.int32),
        }

    return rows("train", 12_000), rows("validation", 4000), rows("test", 4000)


def _clothes(count: int = 2000) -> Splits:
    """So many images of each split of Fashion-MNIST, of 14 by 14 pixels."""
    splits = data.load("fashion_mnist").splits
    train, validation, test = (
        {
            "x": np.asarray(nn.mean_pool(splits[name]["x"][:count])).reshape(count, -1),
            "y": splits[name]["y"][:count],
        }
        for name in ("train", "validation", "test")
    )
    return train, validation, test


def _parity(bits: int = 12, counted: int = 4, examples: int = 300) -> Splits:
    """Whether of a row's first few bits (±1) an odd number are ones; what is left is the test."""
    rows = (np.arange(2**bits)[:, None] >> np.arange(bits)) & 1
    rows = np.random.default_rng(0).permutation(rows)
    x, y = (2 * rows - 1).astype(np.float32), (rows[:, :counted].sum(1) % 2).astype(np.int32)
    ends = [examples, 2 * examples]
    train, validation, test = (
        {"x": a, "y": b} for a, b in zip(np.split(x, ends), np.split(y, ends), strict=True)
    )
    return train, validation, test
