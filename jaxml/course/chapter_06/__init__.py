"""Chapter 6, generative models: two networks against each other."""

from __future__ import annotations

from jaxml.course.chapter_06 import critics, dirac, equilibria
from jaxml.course.experiment import Experiment

LECTURE_6 = "Hung-yi Lee, Machine Learning 2021, lecture 6"

EXPERIMENTS = (
    Experiment(
        "dirac-gan", 6, "without a penalty the two networks of a GAN circle their equilibrium",
        f"{LECTURE_6}; Mescheder et al. 2018 (arXiv:1801.04406)", dirac.dirac_gan, 0.5,
        "Add half of the same penalty at the samples (r2): where does it move the eigenvalues?",
    ),
    Experiment(
        "gan-spectrum", 6, "a GAN that was trained does not stand at a minimum of either loss",
        f"{LECTURE_6}; Berard et al. 2020 (arXiv:1906.04848)", equilibria.gan_spectrum, 6.0,
        "Train ten times as long: how many eigenvalues stay on the right?",
    ),
    Experiment(
        "trained-critics", 6, "a classifier measures JS, flat beyond overlap, a critic of slope 1 "
        "how far the samples must move",
        f"{LECTURE_6}; Arjovsky et al. 2017 (arXiv:1701.07875); Gulrajani et al. 2017 "
        "(arXiv:1704.00028)", critics.trained_critics, 2.0,
        "Double the deviation of both Gaussians: where does JS become flat now?",
    ),
)  # fmt: skip
