"""The fifteen chapters and their experiments."""

from __future__ import annotations

from typing import NamedTuple

from jaxml.core.checks import near, require
from jaxml.course import (
    chapter_01,
    chapter_02,
    chapter_03,
    chapter_04,
    chapter_05,
    chapter_06,
    chapter_08,
)
from jaxml.course.experiment import Experiment


class Chapter(NamedTuple):
    """A chapter of the course.

    Attributes:
        number: from 1 to 15.
        title: what it is about.
        question: that its lecture answers.
        experiments: in the order of the lecture.
        missing: what of it jaxml does not have yet.
    """

    number: int
    title: str
    question: str
    experiments: tuple[Experiment, ...] = ()
    missing: str = ""


CHAPTERS = (
    Chapter(
        1, "Basics", "How does a machine find a function?", chapter_01.EXPERIMENTS,
        "sequences",
    ),
    Chapter(
        2, "Training guide", "What to do when training fails?", chapter_02.EXPERIMENTS,
        "batch norm before against after the activation",
    ),
    Chapter(
        3, "CNN, validation, depth", "What does a network gain from knowing about images, and "
        "from depth?", chapter_03.EXPERIMENTS,
    ),
    Chapter(
        4, "Self-attention", "How does a network read a set or a sequence?",
        chapter_04.EXPERIMENTS,
    ),
    Chapter(
        5, "Transformer", "How does a network write a sequence?", chapter_05.EXPERIMENTS,
        "the speech of people, decoding at once on real sentences",
    ),
    Chapter(
        6, "GAN", "How does a network draw from a distribution?", chapter_06.EXPERIMENTS,
        "images, conditional and cycle GANs",
    ),
    Chapter(
        7, "Self-supervised learning", "What can be learned without labels?",
        missing="BERT and its uses, GPT, adapters, images and speech",
    ),
    Chapter(
        8, "Auto-encoder", "What is left of data in a small code?", chapter_08.EXPERIMENTS,
        "disentangling, discrete codes, text as code",
    ),
    Chapter(
        9, "Explanation", "Why does a network say what it says?",
        missing="saliency, integrated gradients, LIME, probing, activation maximisation",
    ),
    Chapter(
        10, "Attack", "How is a network deceived, and how is it defended?",
        missing="FGSM to C&W, black box, patches, back doors, defences",
    ),
    Chapter(
        11, "Adaptation", "What if the test's data are others?",
        missing="fine-tuning, DANN, MCD, universal and test-time adaptation",
    ),
    Chapter(
        12, "Reinforcement", "How does one learn from reward?",
        missing="policy gradients, PPO, DQN and its family, curiosity, imitation",
    ),
    Chapter(
        13, "Compression", "How small can a network be?",
        missing="pruning, lottery tickets, distillation, quantisation, architectures",
    ),
    Chapter(
        14, "Lifelong learning", "How does a network learn without forgetting?",
        missing="forgetting measured, EWC to SCP, GEM, growing nets, replay",
    ),
    Chapter(
        15, "Meta learning", "How does one learn to learn?",
        missing="MAML and its family, learned optimisers, architecture search, metric learning",
    ),
)  # fmt: skip


def experiments() -> tuple[Experiment, ...]:
    """All of them, chapter by chapter."""
    return tuple(experiment for chapter in CHAPTERS for experiment in chapter.experiments)


def find(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ValueError: if there is none, with one that may have been meant.

    Example:
        >>> find("hard-sigmoid").chapter
        1
    """
    known = {experiment.name: experiment for experiment in experiments()}
    expected = "an experiment that `jaxml course` lists"
    require(name in known, expected, f"{name!r}{near(name, known)}")
    return known[name]
