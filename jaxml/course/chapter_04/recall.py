"""What a network remembers of a token that came long before."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import nn
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.types import Batch, Model
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.course.lanes import of_each_lane, train_each
from jaxml.training import metrics
from jaxml.training.loop import Sample

LETTERS = 8
CHANCE = 1 / LETTERS
WINDOW = 17


def recall(effort: Effort = "quick") -> Finding:
    """The first letter of a sequence, named at its end: by attention and by an LSTM."""
    quick = effort == "quick"
    distances, steps, seeds = ([20], 120, 1) if quick else ([5, 20, 60, 200], 800, 3)
    rates = [1e-2] if quick else [3e-3, 1e-2, 3e-2]
    encoder = functools.partial(nn.transformer_encoder, LETTERS + 1, LETTERS, width=32, layers=1)
    local = functools.partial(nn.attention.local_attention, window=WINDOW)
    models = {
        "attention": _at_the_end(encoder()),
        "LSTM": nn.rnn(LETTERS + 1, LETTERS, output="last", width=64),
    }
    models |= {} if quick else {f"attention to {WINDOW}": _at_the_end(encoder(attention=local))}
    found = {
        name: [_chosen(model, n, rates, seeds, steps) for n in distances]
        for name, model in models.items()
    }
    reached = {name: [each["test"] for each in those] for name, those in found.items()}
    far, last = distances[-1], {name: each[-1] for name, each in reached.items()}
    holds = last["attention"] >= 0.99 and last["LSTM"] < 0.6
    verdict = (
        f"A letter {far} back is named in {last['attention']:.1%} of the cases by attention, in "
        f"{last['LSTM']:.1%} by an LSTM after as many steps"
    )
    expected = f"{far} letters back attention names at least 99 %, the LSTM less than 60 %"
    if not quick:
        near, first = last[f"attention to {WINDOW}"], [each[0] for each in reached.values()]
        holds = holds and abs(near - CHANCE) < 0.04 and min(first) >= 0.99
        verdict += (
            f", in {near:.1%} by attention to the {WINDOW} positions around (guessing: "
            f"{CHANCE:.1%}). {distances[0]} back each of the three names {min(first):.1%} or more"
        )
        expected += (
            f", attention to {WINDOW} no more than guessing; {distances[0]} back all three 99 %"
        )
    figure = pictures.curves(
        {**reached, "guessing": [CHANCE] * len(distances)},
        "Accuracy against the distance: attention stays at 1; the LSTM and attention to a window "
        "fall from there to guessing.",
        style={"guessing": ":"} | dict.fromkeys(models, "o-"),
        xlabel="letters back", ylabel="test accuracy", ylim=(0, 1.05),
        xticks=np.arange(len(distances)), xticklabels=distances,
    )  # fmt: skip
    table = Table(
        ("network", "letters back", "rate", "validation", "test", "runs that reach 99 %"),
        [
            (name, str(n), f"{each['rate']:g}", f"{each['validation']:.1%}", f"{each['test']:.1%}",
             f"{each['solved']} of {len(rates) * seeds}")
            for name, those in found.items()
            for n, each in zip(distances, those, strict=True)
        ],
    )  # fmt: skip
    return Finding(
        name="recall",
        question="Which networks learn to remember what came long before?",
        verdict=f"{verdict}.",
        sections=[
            Section(
                "The first letter, at the end",
                f"Letters are drawn from {LETTERS}, new ones for each of {steps} steps of 32 "
                "sequences; at the end a mark asks for the first of them. Each network has "
                f"{len(rates) * seeds} runs, of {len(rates)} rates and {seeds} seeds; what is "
                "tested is the run that validates best.",
                figures=[figure], table=table,
            )
        ],
        numbers={
            "letters_back": distances, "test": reached,
            "rate": {name: [each["rate"] for each in those] for name, those in found.items()},
            "reach_99_percent": {
                name: [each["solved"] for each in those] for name, those in found.items()
            },
        },
        expected=expected,
        holds=bool(holds),
    )  # fmt: skip


def _at_the_end(model: Model) -> Model:
    """The output of the last position alone."""

    def apply(params: Any, model_state: Any, x: Any, **options: Any) -> Any:
        y, model_state = model.apply(params, model_state, x, **options)
        return y[:, -1], model_state

    return Model(model.init, apply)


@functools.cache
def _sequences(distance: int, count: int) -> Sample:
    """Letters, and behind the last the mark; new ones at each step."""

    def draw(data: Any, key: jax.Array, step: Any) -> Batch:  # noqa: ARG001
        shape = (count, distance + 1)
        letters = jax.random.randint(jax.random.fold_in(key, step), shape, 0, LETTERS)
        marked = letters.at[:, -1].set(LETTERS)
        return {"x": jax.nn.one_hot(marked, LETTERS + 1), "y": letters[:, 0]}

    return draw


def _chosen(
    model: Model, distance: int, rates: list[float], seeds: int, steps: int
) -> dict[str, Any]:
    """The run that validates best, of so many seeds at each rate."""
    states = train_each(
        model, None, _sequences(distance, 32), rates=rates, seeds=seeds, steps=steps
    )

    def accuracy(rows: Batch, states: Any) -> np.ndarray:
        measures = {"accuracy": metrics.accuracy}
        return of_each_lane(model, states, rows, measures, batch_size=250)[:, 0]

    held, test = (
        _sequences(distance, count)(None, key(10**6), jnp.asarray(i))
        for i, count in enumerate((500, 2000))
    )
    validated = accuracy(held, states)
    best = int(validated.argmax())
    return {
        "rate": rates[best // seeds],
        "validation": float(validated[best]),
        "test": float(accuracy(test, jax.tree.map(lambda leaf: leaf[best : best + 1], states))[0]),
        "solved": int((validated >= 0.99).sum()),
    }
