"""Who speaks, and in which language, by the sound: of clips and of voices never heard."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jaxml import data, nn
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.words import counted
from jaxml.course import pictures, sounds
from jaxml.course.chapter_04.sequences import Rows, accuracies, outputs_on, trained_on
from jaxml.course.experiment import Effort

CLIPS = "clips"

HELD_OUT = {
    "speaker": (CLIPS, "allison-en", "allison-es"),
    "language": (CLIPS, "carlo-it", "menardi-it"),
}
"""What is to be told -> what the test is: a fifth of all clips, or all of one voice."""

NOISE = 0.3
"""Of the training's frames, as in speaker-by-attention."""


def voices_held_out(effort: Effort = "quick") -> Finding:
    """Speaker and language from raw sound, with clips held out and with whole voices."""
    quick = effort == "quick"
    seeds, steps, longest = (1, 40, 0.8) if quick else (3, 400, 2.0)
    size: dict[str, Any] = {"width": 32, "layers": 1} if quick else {"width": 64, "layers": 2}
    model = nn.transformer_encoder(sounds.COLUMNS, 3, output="pooled", dropout=0.2, **size)
    told: dict[tuple[str, str], list[float]] = {}
    by_mean: dict[tuple[str, str], float] = {}
    named: dict[tuple[str, str], dict[str, float]] = {}
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    tasks = {"speaker": HELD_OUT["speaker"][:2]} if quick else HELD_OUT
    for target, held_out in tasks.items():
        for voice in held_out:
            prompts = data.load(
                "asterisk_prompts", target=target, longest=longest, validation=0,
                test=0.2 if voice == CLIPS else voice,
            )  # fmt: skip
            task = (target, voice)
            (train, first), (test, last) = (_rows(prompts.splits[s]) for s in ("train", "test"))
            outputs = outputs_on(model, trained_on(model, train, NOISE, seeds, steps), test)
            told[task] = accuracies(outputs, test)
            linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            by_mean[task] = float(linear.fit(first, train["y"]).score(last, test["y"]))
            shares = np.bincount(outputs.argmax(-1).ravel(), minlength=3) / outputs[..., 0].size
            names = prompts.meta["class_names"]
            named[task] = dict(zip(names, map(float, shares), strict=True))
            counts[task] = (len(train["y"]), len(test["y"]))
    mean = {task: float(np.mean(each)) for task, each in told.items()}
    known = {target: mean[target, CLIPS] for target in tasks}
    new = {
        target: float(np.mean([mean[target, voice] for voice in voices]))
        for target, (_, *voices) in tasks.items()
    }
    least, lower = (0.5, 0.1) if quick else (0.9, 0.1)
    holds = min(known.values()) >= least and all(known[of] - new[of] >= lower for of in new)
    table = Table(
        ("told", "held out", "clips to train, to test", "right", "each seed",
         "by mean and deviation", "called"),
        [
            (
                target, "a fifth of the clips" if voice == CLIPS else f"all of {voice}",
                "{}, {}".format(*counts[target, voice]), f"{mean[target, voice]:.1%}",
                ", ".join(f"{a:.1%}" for a in told[target, voice]),
                f"{by_mean[target, voice]:.1%}",
                ", ".join(f"{name} {share:.0%}" for name, share in named[target, voice].items()),
            )
            for target, voice in mean
        ],
    )  # fmt: skip
    figure = pictures.bars(
        {"clips held out": known, "a voice held out": new},
        "The share that is told right of the speaker and of the language, where clips are held "
        "out and where a whole voice is.",
        ylabel="share that is right", ylim=(0, 1),
    )  # fmt: skip
    return Finding(
        name="voices-held-out",
        question="Does a network that tells speakers and languages know a voice never heard?",
        verdict=f"Of prompts of at most {longest:g} s, a fifth of them held out, an encoder tells "
        f"the speaker of {known['speaker']:.1%}"
        + ("" if quick else f" and the language of {known['language']:.1%}")
        + f". A speaker in a language never heard of her is told in {new['speaker']:.1%}"
        + ("" if quick else f", the language of a speaker never heard in {new['language']:.1%}")
        + f" ({counted(seeds, 'seed')}).",
        text=(
            "Allison reads English and Spanish, Carlo and Menardi Italian, each a recording of "
            f"its own. A Transformer sees {sounds.BANDS} bands of frequencies in frames of 25 ms, "
            "each band of each clip in deviations from its own mean, so that neither loudness nor "
            "the colour of a microphone tells. Beside it a linear classifier of the means and "
            "deviations of the bands, colour and all. Nothing was chosen on the tests. With "
            "one of the Italian voices held out, all the Italian to learn from is of the other: "
            "what is told of the language may be told of the person.",
        ),
        sections=[Section("Told right", figures=[figure], table=table)],
        numbers={
            "told": {"/".join(task): each for task, each in told.items()},
            "by_mean": {"/".join(task): value for task, value in by_mean.items()},
            "called": {"/".join(task): shares for task, shares in named.items()},
            "clips": {"/".join(task): list(both) for task, both in counts.items()},
        },
        expected=f"of clips held out speaker and language are told in {least:.0%}, of a voice held "
        f"out in at least {100 * lower:.0f} points less",
        holds=bool(holds),
    )  # fmt: skip


def _rows(split: Any) -> tuple[Rows, np.ndarray]:
    """What the network reads, and the mean and deviation of each band."""
    frames, counts = sounds.filter_bank(split["x"], split["x_length"])
    inside = (np.arange(frames.shape[1]) < counts[:, None])[..., None]
    mean = frames.sum(1) / counts[:, None]
    deviation = np.sqrt((np.where(inside, frames - mean[:, None], 0) ** 2).sum(1) / counts[:, None])
    rows = sounds.stacked(sounds.without_colour(frames, counts), counts)
    return {**rows, "y": split["y"]}, np.concatenate([mean, deviation], 1)
