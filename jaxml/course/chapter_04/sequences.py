"""Sequences that are read by attention."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from sklearn.model_selection import StratifiedKFold

from jaxml import data, nn, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key, keys
from jaxml.core.types import Model
from jaxml.core.words import counted
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import augmentation, losses, optimizers, sampling, schedules


def order_of_tokens(effort: Effort = "quick") -> Finding:
    """Which of two marked tokens comes first: with positions and without."""
    quick = effort == "quick"
    rows, steps, seeds = (1000, 200, 1) if quick else (4000, 1500, 5)
    random, length = np.random.default_rng(0), 12

    def made(count):
        x = random.integers(2, 8, (count, length))
        places = np.argsort(random.random((count, length)), axis=1)[:, :2]  # two different ones
        x[np.arange(count), places[:, 0]], x[np.arange(count), places[:, 1]] = 0, 1
        return {"x": x, "y": (places[:, 0] < places[:, 1]).astype(np.int32)}

    train, test = made(rows), made(2000)
    kinds: dict[str, str | None] = {"none": None, "sinusoidal": "sinusoidal"}
    kinds |= {} if quick else {"rotary": "rotary"}
    accuracy, changed = {}, {}
    for name, positions in kinds.items():
        model = nn.transformer_encoder(
            8,
            2,
            tokens=True,
            output="pooled",
            width=16,
            heads=2,
            positions=positions,
            layers=1 if quick else 2,
        )
        rate = schedules.warmup_cosine(3e-3, steps)
        algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(rate))
        state = training.fit_many(
            algorithm, train, sampling.epochs(50), keys=keys(seeds), steps=steps
        ).state
        outputs = jax.jit(jax.vmap(lambda p, x, m=model: m.apply(p, {}, x)[0], (0, None)))
        logits = outputs(state.params, test["x"])
        turned = outputs(state.params, test["x"][:, ::-1])
        accuracy[name] = np.asarray((logits.argmax(-1) == test["y"]).mean(1)).tolist()
        changed[name] = float(abs(logits - turned).max())
    mean = {name: float(np.mean(values)) for name, values in accuracy.items()}
    told = [name for name in kinds if name != "none"]
    holds = mean["none"] < 0.56 and changed["none"] < 1e-3 and all(mean[n] > 0.9 for n in told)
    figure = pictures.bars(
        mean,
        "Accuracy of three networks: without positions one half, with them nearly one.",
        xlabel="positions", ylabel="test accuracy", ylim=(0, 1.05),
    )  # fmt: skip
    return Finding(
        name="order-of-tokens",
        question="Can attention tell what came first?",
        verdict=f"Which of two marks among {length} tokens comes first is told in "
        f"{mean['none']:.0%} of the cases without positions, "
        + ", ".join(f"{mean[name]:.1%} with {name} ones" for name in told)
        + f". Read backwards, a sequence changes the outputs by {changed['none']:.0e} without "
        f"them, by {min(changed[name] for name in told):.1g} or more with them.",
        sections=[Section("With positions and without", figures=[figure])],
        numbers={"accuracy": accuracy, "change_backwards": changed},
        expected="without positions half of the answers are right, and the order changes nothing; "
        "with positions more than 90 % are",
        holds=bool(holds),
    )


def given(batch: Any) -> Any:
    """What networks on sequences see: the frames or tokens, and how many there are."""
    return batch["x"], batch["x_length"]


Rows = dict[str, np.ndarray]

FRAMES = 30
"""Of the longest recording, and one of padding: blocks divide it."""

SMOOTHED = functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1)


def recordings() -> tuple[Rows, Rows]:
    """Japanese vowels, train and test, in deviations of the training frames."""
    vowels = data.load("japanese_vowels")
    present = np.arange(29) < vowels.train["x_length"][:, None]
    mean, deviation = vowels.train["x"][present].mean(0), vowels.train["x"][present].std(0)
    train, test = (
        split | {"x": np.pad((split["x"] - mean) / deviation, ((0, 0), (0, FRAMES - 29), (0, 0)))}
        for split in (vowels.splits["train"], vowels.splits["test"])
    )
    return train, test


def speaker(effort: Effort = "quick") -> Finding:
    """Nine speakers, told by attention and by a recurrent network from 7 to 29 frames."""
    train, test = recordings()
    quick = effort == "quick"
    seeds, steps, width = (1, 40, 32) if quick else (5, 900, 64)
    levels = [0.3] if quick else [0.0, 0.3]
    encoder = functools.partial(
        nn.transformer_encoder, 12, 9, output="pooled", width=width, dropout=0.2
    )
    models = {
        "softmax attention": encoder(),
        **{name: encoder(attention=attention) for name, attention in _efficient(width).items()},
        "LSTM": nn.rnn(12, 9, output="last", width=width, bidirectional=True, dropout=0.2),
    }
    tested, validated, chosen = {}, {}, {}
    params = None
    for name, model in models.items():
        if quick and name != "softmax attention":
            continue
        validated[name] = [
            np.nan if quick else cross_validated(model, train, level, steps) for level in levels
        ]
        chosen[name] = levels[int(np.argmax(validated[name]))]
        trained = trained_on(model, train, chosen[name], seeds, steps)
        tested[name] = accuracies(outputs_on(model, trained, test), test)
        params = trained if params is None else params
    reached = {name: float(np.mean(each)) for name, each in tested.items()}
    best = reached["softmax attention"]
    table = Table(
        ("network", "noise, by cross-validation", "test", "each seed"),
        [
            (name, f"{chosen[name]:g}", f"{reached[name]:.1%}",
             ", ".join(f"{a:.1%}" for a in each))
            for name, each in tested.items()
        ],
    )  # fmt: skip
    efficient = [reached[name] for name in reached if name not in ("softmax attention", "LSTM")]
    others = ""
    if not quick:
        others = (
            f", {len(efficient)} kinds of attention with fewer scores that of "
            f"{min(efficient):.1%} to {max(efficient):.1%}, an LSTM that of {reached['LSTM']:.1%}"
        )
    return Finding(
        name="speaker-by-attention",
        question="Who speaks?",
        verdict=f"Of {len(test['y'])} recordings by nine men an encoder with softmax attention "
        f"names the speaker of {best:.1%} ({counted(seeds, 'seed')}){others}"
        + ("." if quick else "; the noise of the training is chosen by cross-validation."),
        sections=[
            Section("On the test", table=table),
            Section("Where the heads look", figures=[_map(models["softmax attention"], params,
                                                          test)]),
        ],
        numbers={"test": tested, "validation": validated, "noise": levels, "chosen": chosen},
        expected="an encoder reaches 98 % on the test" if not quick else "an encoder reaches 70 % "
        "on the test in 40 steps (guessing: 11 %)",
        holds=best >= (0.7 if quick else 0.98),
    )  # fmt: skip


def _efficient(width: int) -> dict[str, Callable[..., jax.Array]]:
    """Attention of each head with fewer than n² scores; what is random in it is not trained."""
    columns, random = width // 4, jax.random.split(key(0), 4)
    directions = nn.attention.orthogonal_features(random[0], 4 * columns, columns)
    blocks = nn.attention.bigbird_blocks(random[1], FRAMES, 3)
    mixtures = jax.random.normal(random[2], (2, 10, FRAMES)) / FRAMES**0.5
    hashes = jax.random.normal(random[3], (2, columns, 2))
    partial = functools.partial
    return {
        "linear attention": nn.attention.linear_attention,
        "local attention, 5 frames": partial(nn.attention.local_attention, window=5),
        "BigBird, blocks of 3": partial(nn.attention.block_attention, blocks=blocks, first=1),
        "Performer": partial(nn.attention.performer_attention, directions=directions),
        "Linformer, 10 mixtures": partial(
            nn.attention.linformer_attention, mix_keys=mixtures[0], mix_values=mixtures[1]
        ),
        "Reformer, 2 rounds of 4 hashes": partial(
            nn.attention.lsh_attention, directions=hashes, block=6
        ),
    }


def cross_validated(
    model: Model, rows: Rows, noise: float, steps: int, loss: Any = SMOOTHED
) -> float:
    """The accuracy on each third of the rows after training on the others, its mean."""
    folds = StratifiedKFold(3, shuffle=True, random_state=0).split(rows["x"], rows["y"])
    found = []
    for there, left in folds:
        params = trained_on(model, _taken(rows, there), noise, 1, steps, loss)
        held_out = _taken(rows, left)
        found += accuracies(outputs_on(model, params, held_out), held_out)
    return float(np.mean(found))


def trained_on(
    model: Model, rows: Rows, noise: float, seeds: int, steps: int, loss: Any = SMOOTHED
) -> Any:
    """The parameters of a network for each seed, on frames with noise of this deviation."""
    sample = sampling.epochs(30)
    if noise:
        sample = augmentation.augmented(sample, augmentation.noise(noise))
    algorithm = training.supervised(
        model, loss, optimizers.adam(schedules.warmup_cosine(2e-3, steps)), inputs=given
    )
    return training.fit_many(algorithm, rows, sample, keys=keys(seeds), steps=steps).state.params


def outputs_on(model: Model, params: Any, rows: Rows) -> np.ndarray:
    """Of each seed's network for each row: `(seeds, rows, 9)`."""
    return np.asarray(jax.jit(jax.vmap(lambda p: model.apply(p, {}, given(rows))[0]))(params))


def accuracies(outputs: np.ndarray, rows: Rows) -> list[float]:
    """Of each seed's network."""
    return [float(a) for a in (outputs.argmax(-1) == rows["y"]).mean(1)]


def _taken(rows: Rows, chosen: np.ndarray) -> Rows:
    return {name: values[chosen] for name, values in rows.items()}


def _map(model: Model, params: Any, rows: Any) -> Figure:
    """The heads of the last layer of the first seed's network, on the longest recording."""
    params = jax.tree.map(lambda leaf: leaf[0], params)
    longest = int(rows["x_length"].argmax())
    maps = nn.attention_maps(model, params, {}, given(_taken(rows, np.array([longest]))))
    heads = list(np.asarray([*maps.values()][-1][0]))
    return pictures.images(
        {"weights": [head / head.max() for head in heads]},
        "Four square pictures of weights, a row for each frame that looks, a column for each that "
        "it looks at.",
    )
