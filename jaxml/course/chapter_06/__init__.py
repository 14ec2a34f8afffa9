"""Chapter 6, generative models: two networks against each other, and bounds on a likelihood."""

from __future__ import annotations

from jaxml.course.chapter_06 import (
    critics,
    dirac,
    equilibria,
    flows,
    linear_vae,
    ring_of_eight,
    vae,
)
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
        "ring-of-eight", 6, "how many modes a GAN finds, its rates, λ and critic steps decide, not "
        "its loss",
        f"{LECTURE_6}; Lucic et al. 2018 (arXiv:1711.10337); Srivastava et al. 2017 "
        "(arXiv:1705.07761) for the score", ring_of_eight.ring_of_eight, 7.0,
        "Halve the critic's rate step by step: where do the modes begin to fall?",
    ),
    Experiment(
        "trained-critics", 6, "a classifier measures JS, flat beyond overlap, a critic of slope 1 "
        "how far the samples must move",
        f"{LECTURE_6}; Arjovsky et al. 2017 (arXiv:1701.07875); Gulrajani et al. 2017 "
        "(arXiv:1704.00028)", critics.trained_critics, 2.0,
        "Double the deviation of both Gaussians: where does JS become flat now?",
    ),
    Experiment(
        "linear-vae", 6, "a linear VAE is probabilistic principal component analysis",
        f"{LECTURE_6}; Lucas et al. 2019 (arXiv:1911.02469)", linear_vae.linear_vae, 2.0,
        "Begin from weights ten times as large: do the codes still lie along the components?",
    ),
    Experiment(
        "posterior-collapse", 6, "a VAE that ignores its code stands at a saddle of known index",
        f"{LECTURE_6}; Lucas et al. 2019 (arXiv:1911.02469)", linear_vae.posterior_collapse, 2.0,
        "Weigh the divergence twice (beta=2): at which σ² is the collapsed point a minimum now?",
    ),
    Experiment(
        "vae-likelihood", 6,
        "a VAE bounds the likelihood of images, and more codes bound it better",
        f"{LECTURE_6}; Kingma and Welling 2014; Burda et al. 2016 (arXiv:1509.00519)",
        vae.vae_likelihood, 12.0,
        "Binarise the training images once (binarize=False): what does it cost on the test?",
    ),
    Experiment(
        "rate-distortion", 6, "the weight of the divergence trades the code's nats for the error's",
        f"{LECTURE_6}; Higgins et al. 2017; Alemi et al. 2018 (arXiv:1711.00464)",
        vae.rate_distortion, 6.0,
        "Halve the codes: which of the networks notice?",
    ),
    Experiment(
        "flow-density", 6,
        "trained by the likelihood alone, an invertible network comes within 0.1 nats of the "
        "density of its data",
        f"{LECTURE_6}; Dinh et al. 2017 (arXiv:1605.08803); Kingma and Dhariwal 2018 "
        "(arXiv:1807.03039)", flows.flow_density, 5.0,
        "Make the Gaussians narrower (NOISE): where does the divergence grow, and why?",
    ),
)  # fmt: skip
