"""Chapter 5, the Transformer: how a network writes a sequence."""

from __future__ import annotations

from jaxml.course.experiment import Experiment

LECTURE_5 = "Hung-yi Lee, Machine Learning 2021 and 2022, lecture 5"

EXPERIMENTS: tuple[Experiment, ...] = ()
