"""Chapter 8, auto-encoders: principal components, known critical points, denoising, anomalies."""

from __future__ import annotations

from jaxml.course.chapter_08 import anomalies, deep, linear
from jaxml.course.experiment import Experiment

LECTURE_8 = "Hung-yi Lee, Machine Learning 2021, lecture 8"

EXPERIMENTS = (
    Experiment(
        "principal-subspace", 8, "a linear auto-encoder spans the subspace of PCA",
        f"{LECTURE_8}; Baldi and Hornik 1989", linear.principal_subspace, 0.5,
        "Give the code one unit more, and look at how much the loss falls: half an eigenvalue.",
    ),
    Experiment(
        "autoencoder-critical-points", 8,
        "a linear auto-encoder has one minimum, and all other critical points are saddles",
        "Baldi and Hornik 1989", linear.all_critical_points, 0.5,
        "Leave a saddle by landscape.escape: at which of the others does it pass?",
    ),
    Experiment(
        "search-bias", 8, "a search must end strictly, and finds some points more readily",
        "Frye et al. 2019 (arXiv:1901.10603)", linear.search_bias, 1.0,
        "Start twice as large: which index do most of them end at?",
    ),
    Experiment(
        "saddle-to-saddle", 8, "from a small start training goes from saddle to saddle",
        "Saxe et al. 2014 (arXiv:1312.6120)", linear.saddle_to_saddle, 0.5,
        "Begin ten times as large: which of the stairs are left?",
    ),
    Experiment(
        "linear-denoiser", 8, "the best linear denoiser is the Wiener filter",
        "Vincent et al. 2008; Wiener 1949", linear.linear_denoiser, 1.0,
        "Keep 8 codes only: which of the components are left, and shrunk by how much?",
    ),
    Experiment(
        "deep-against-pca", 8, "at the same size of code a deep auto-encoder beats PCA",
        f"{LECTURE_8}; Hinton and Salakhutdinov 2006", deep.deep_against_pca, 1.0,
        "Try codes of 1, 4 and 16 numbers: where does PCA catch up?",
    ),
    Experiment(
        "denoising", 8, "a denoising auto-encoder gives back the clean image",
        f"{LECTURE_8}; Vincent et al. 2008", deep.denoising, 0.5,
        "Test with another noise than in training: pixels set to zero, say.",
    ),
    Experiment(
        "anomalies", 8, "the error of the reconstruction shows what is unusual", LECTURE_8,
        anomalies.anomalies, 1.0,
        "Widen the code to 32 numbers: why does that make it worse?",
    ),
    Experiment(
        "one-class-digits", 8, "a linear reconstruction tells anomalies as well as a deep one-class"
        " network", f"{LECTURE_8}; Ruff et al. 2018", anomalies.one_class, 12.0,
        "Keep 8 components, or 128: which digits gain, and which lose?",
    ),
)  # fmt: skip
