"""Chapter 5, the Transformer: how a network writes a sequence."""

from __future__ import annotations

from jaxml.course.chapter_05 import pronunciation
from jaxml.course.experiment import Experiment

LECTURE_5 = "Hung-yi Lee, Machine Learning 2021 and 2022, lecture 5"

EXPERIMENTS = (
    Experiment(
        "pronunciation", 5, "a Transformer learns to pronounce English from a dictionary",
        f"{LECTURE_5}; Vaswani et al. 2017", pronunciation.pronunciation, 40.0,
        "Decode without beam search, or with a beam of 20; train on every pronunciation.",
    ),
)  # fmt: skip
