"""Chapter 4, self-attention: what it computes, what it needs and what it is good for."""

from __future__ import annotations

from jaxml.course.chapter_04 import (
    attention,
    graphs,
    images,
    molecules,
    prompts,
    recall,
    sequences,
    speakers,
)
from jaxml.course.experiment import Experiment

LECTURE_4 = "Hung-yi Lee, Machine Learning 2021 and 2022, lecture 4"

EXPERIMENTS = (
    Experiment(
        "order-of-tokens", 4, "attention does not know the order of what it sees", LECTURE_4,
        sequences.order_of_tokens, 1.0,
        "Give it rotary positions (positions='rotary'), and longer sequences than in training.",
    ),
    Experiment(
        "recall", 4, "attention learns to look far back, an LSTM does not in as many steps",
        f"{LECTURE_4}; Hochreiter and Schmidhuber 1997 for the task", recall.recall, 8.0,
        "Give the LSTM more steps, or the local attention a second layer: how far does it reach?",
    ),
    Experiment(
        "attention-is-convolution", 4, "self-attention can be a convolution",
        f"{LECTURE_4}; Cordonnier et al. 2020", attention.is_convolution, 0.1,
        "Leave out the ring of zeros: which pixels differ then?",
    ),
    Experiment(
        "attention-memory", 4, "n positions have n² scores; some kinds of attention need fewer",
        f"{LECTURE_4} (2022); Katharopoulos et al. 2020", attention.memory, 0.5,
        "Give the local attention a window of n: what does it cost now?",
    ),
    Experiment(
        "speaker-by-attention", 4, "attention tells the speaker from a short recording",
        f"{LECTURE_4} (homework 4); Kudo et al. 1999 for the recordings", sequences.speaker, 6.0,
        "Pool by the first frame (output='first'), or leave out the positions.",
    ),
    Experiment(
        "speaker-heads", 4,
        "a margin keeps speakers further apart, and a Conformer tells them as well as attention "
        "alone", "Wang et al. 2018; Gulati et al. 2020", speakers.conformer_and_margin, 6.0,
        "Give the Conformer a kernel of 1 or of 15, or the margin a scale of 3.",
    ),
    Experiment(
        "voices-held-out", 4,
        "clips held out flatter a network: a voice that it never heard it knows less well",
        f"{LECTURE_4} (homework 4)", prompts.voices_held_out, 6.0,
        "Leave the colour of the recordings in (without_colour): what is told by it?",
    ),
    Experiment(
        "images-by-attention", 4, "attention needs more images than a convolution does",
        f"{LECTURE_4}; Dosovitskiy et al. 2021", images.by_attention, 9.0,
        "Take smaller patches, or train on images that are moved (augmentation.shift).",
    ),
    Experiment(
        "karate-club", 4, "two labels are enough for a network on a graph",
        f"{LECTURE_4} (graphs); Kipf and Welling 2017, Zachary 1977", graphs.karate_club, 0.5,
        "Tell it the club of member 8 as well, or take nn.gat.",
    ),
    Experiment(
        "polar-surface", 4, "a network on the graph of a molecule tells a property of it",
        f"{LECTURE_4} (graphs); Schlichtkrull et al. 2018, Ertl et al. 2000 for the areas",
        molecules.polar_surface, 8.0,
        "Call all bonds single (np.minimum of the adjacency and 1), or hide the hydrogens.",
    ),
)  # fmt: skip
