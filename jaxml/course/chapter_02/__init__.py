"""Chapter 2, when training fails: critical points, batches, optimisers, losses, norms."""

from __future__ import annotations

from jaxml.course.chapter_02 import (
    adaptation,
    batches,
    classification,
    critical_points,
    guide,
    normalization,
    rates,
    remedies,
    speakers,
    warm_up,
)
from jaxml.course.experiment import Experiment

LECTURE_2 = "Hung-yi Lee, Machine Learning 2021, lecture 2"

EXPERIMENTS = (
    Experiment(
        "four-faults", 2, "the guide's tree tells what is wrong with a network",
        f"{LECTURE_2}, guide", guide.four_faults, 1.0,
        "Plant one of your own: jaxml study diagnose --hidden 64,64 --data FILE.csv.",
    ),
    Experiment(
        "remedies", 2, "on accuracy only data and structure help, on loss almost all remedies do",
        f"{LECTURE_2}, guide; Srivastava et al. 2014 for dropout", remedies.remedies, 15.0,
        "Train each of them four times as long: which losses go on rising?",
    ),
    Experiment(
        "leaderboard", 2, "the best of many on a small public set is chosen by luck",
        f"{LECTURE_2}, guide", guide.best_of_many, 0.1,
        "Make the public set 500 examples: how much of the luck is left?",
    ),
    Experiment(
        "speakers", 2, "validation must differ from training as the test will",
        f"{LECTURE_2}, guide (mismatch); Deterding 1989 for the vowels", speakers.speakers, 4.0,
        "Give every speaker a share in both splits of the test: what does the network reach then?",
    ),
    Experiment(
        "mismatch", 2, "against a mismatch only adaptation helps",
        f"{LECTURE_2}, guide (mismatch); Li et al. 2016 (arXiv:1603.04779) for the averages",
        adaptation.mismatch, 0.5,
        "Turn the digits by 30 degrees instead: do new averages still suffice?",
    ),
    Experiment(
        "course-saddle", 2, "(1 − w₁w₂)² has a saddle at 0 with eigenvalues ±2",
        f"{LECTURE_2}, when gradient is small", critical_points.saddle_of_the_course, 0.1,
        "Analyse a point of a valley: landscape.analyze(course_saddle, [1.0, 1.0]).",
    ),
    Experiment(
        "saddle-escape", 2, "the lowest eigenvector of the Hessian leads out of a saddle",
        f"{LECTURE_2}, when gradient is small; Dauphin et al. 2014",
        critical_points.saddle_escape, 0.5,
        "Leave along the second lowest eigenvector, or add two dead units.",
    ),
    Experiment(
        "minimum-ratio", 2, "the points at which training ends are hardly ever minima",
        f"{LECTURE_2}, when gradient is small", critical_points.minimum_ratio, 2.0,
        "Add an L2 term and go on with landscape.find_minimum: the ratio becomes 1.",
    ),
    Experiment(
        "gradient-flat", 2, "searches for critical points stall at gradient-flat points",
        "Frye et al. 2021 (arXiv:2003.10397); Dauphin et al. 2014 for index and loss",
        critical_points.gradient_flat, 2.0,
        "Search by method='newton_mr' instead: how many arrive?",
    ),
    Experiment(
        "spectrum-outliers", 2, "a bulk of eigenvalues, and about as many outliers as classes",
        "Sagun et al. 2017 (arXiv:1706.04454), Papyan 2019 (arXiv:1901.08244)",
        critical_points.spectrum_outliers, 1.0,
        "Leave out half of the classes: where is the gap then?",
    ),
    Experiment(
        "saddle-free-newton", 2, "saddle-free Newton leaves a plateau in a few steps",
        "Dauphin et al. 2014 (arXiv:1406.2572)", critical_points.saddle_free_newton, 3.0,
        "Give it 4 or 64 directions: which of both curves gains?",
    ),
    Experiment(
        "batch-updates", 2, "at equal epochs large batches make fewer updates and end worse",
        f"{LECTURE_2}, batch and momentum; Keskar et al. 2017", batches.batch_updates, 1.0,
        "Give all sizes the same updates instead: jaxml study batch-size --train-loss 0.1.",
    ),
    Experiment(
        "sharpness-rescaled", 2, "sharpness changes with the parametrisation",
        "Dinh et al. 2017, against Keskar et al. 2017", batches.sharpness_rescaled, 0.1,
        "Look at landscape.sharpness, whose box grows with the parameters.",
    ),
    Experiment(
        "edge-of-stability", 2, "λ_max of full-batch training rises to just above 2/η",
        "Cohen et al. 2021 (arXiv:2103.00065)", batches.edge_of_stability, 2.0,
        "Halve the rate on the way: where does λ_max go?",
    ),
    Experiment(
        "momentum-sum", 2, "momentum is a weighted sum of all past gradients",
        f"{LECTURE_2}, batch and momentum", batches.momentum_sum, 0.1,
        "Try β = 0.99: how many gradients count then?",
    ),
    Experiment(
        "momentum-crosses", 2, "momentum goes on where gradient descent stops",
        f"{LECTURE_2}, batch and momentum; Polyak 1964", batches.momentum_crosses, 0.1,
        "Make the hill higher (0.25 in `bump`) until momentum is held as well.",
    ),
    Experiment(
        "stuck-ravine", 2, "training can be stuck without a critical point",
        f"{LECTURE_2}, adaptive learning rate", rates.stuck_without_critical_point, 0.1,
        "Set η to 0.2001: what happens beyond 2/λ_max?",
    ),
    Experiment(
        "adaptive-rates", 2, "adaptive rates get through a ravine in which gradient descent stays",
        f"{LECTURE_2}, adaptive learning rate; Duchi et al. 2011, Kingma and Ba 2015",
        rates.adaptive_rates, 0.1,
        "Turn the ravine by 45 degrees: adaptive rates are along the axes.",
    ),
    Experiment(
        "rmsprop-forgets", 2, "RMSProp reacts to a change of the slope, Adagrad hardly",
        f"{LECTURE_2}, adaptive learning rate; Tieleman and Hinton 2012",
        rates.rmsprop_forgets, 0.1,
        "Let the gradient grow to ten times instead: which one brakes sooner?",
    ),
    Experiment(
        "rate-decay", 2, "decay of the rate ends the jumps of adaptive optimisers",
        f"{LECTURE_2}, adaptive learning rate", rates.rate_decay, 0.1,
        "Try schedules.exponential and schedules.warmup_cosine.",
    ),
    Experiment(
        "warm-up", 2, "a deep post-norm network needs warm-up, a pre-norm one does not",
        f"{LECTURE_2}, adaptive learning rate; Xiong et al. 2020 (arXiv:2002.04745), Gilmer et al. "
        "2021 (arXiv:2110.04369) for λ_max", warm_up.warm_up, 8.0,
        "Normalise by batch instead: norm='batch'. Which of the two needs warm-up then?",
    ),
    Experiment(
        "mse-softmax", 2, "far from the target the squared error of a softmax has no slope",
        f"{LECTURE_2}, classification", classification.squared_error_of_softmax, 0.1,
        "Begin at (0, 0): do the two still differ?",
    ),
    Experiment(
        "maximum-likelihood", 2, "to minimise cross-entropy is to maximise the likelihood",
        f"{LECTURE_2}, classification", classification.maximum_likelihood, 0.1,
        "Add an L2 term: towards what do the probabilities move?",
    ),
    Experiment(
        "softmax-sigmoid", 2, "the softmax of two classes is the sigmoid",
        f"{LECTURE_2}, classification", classification.softmax_of_two, 0.1,
        "Add a constant to both logits.",
    ),
    Experiment(
        "fused-logits", 2, "cross-entropy from logits is safe where the log of a softmax is not",
        f"{LECTURE_2}, classification", classification.fused_logits, 0.1,
        "Compare the gradients as well: which of them are nan?",
    ),
    Experiment(
        "feature-scaling", 2, "features of one scale make the error surface round",
        f"{LECTURE_2}, batch normalisation", normalization.feature_scaling, 0.2,
        "Scale every feature to the range from 0 to 1 instead.",
    ),
    Experiment(
        "batch-norm-rates", 2, "batch norm trains at rates at which the plain network fails",
        f"{LECTURE_2}, batch normalisation; Ioffe and Szegedy 2015, Santurkar et al. 2018",
        normalization.batch_norm_rates, 0.5,
        "Put the norm after the activation: nn.mlp(..., norm_position='after').",
    ),
    Experiment(
        "batch-norm-averages", 2, "with moving averages an output does not depend on the batch",
        f"{LECTURE_2}, batch normalisation; Ioffe and Szegedy 2015",
        normalization.batch_norm_averages, 0.1,
        "Use norm='layer': what does an output depend on then?",
    ),
)  # fmt: skip
