"""Chapter 3: convolution, small validation sets, deep against wide."""

from __future__ import annotations

from jaxml.course.chapter_03 import convolution, depth, filters, go, moved, validation
from jaxml.course.experiment import Experiment

LECTURE_3 = "Hung-yi Lee, Machine Learning 2021 and 2022, lecture 3"

EXPERIMENTS = (
    Experiment(
        "convolution-is-dense", 3, "a convolution is a dense layer with few and shared weights",
        LECTURE_3, convolution.convolution_is_dense, 0.1,
        "Give the convolution a stride of 2: how many columns has the matrix then?",
    ),
    Experiment(
        "receptive-field", 3, "two layers of 3 by 3 see 5 by 5 pixels", LECTURE_3,
        convolution.receptive_field, 0.1,
        "Pool by the maximum: which pixels have a gradient now?",
    ),
    Experiment(
        "shift-equivariance", 3, "a shifted image has a shifted feature map", LECTURE_3,
        convolution.shift_equivariance, 0.1,
        "Pool the maps by 2 before comparing: which shifts survive?",
    ),
    Experiment(
        "shared-weights", 3, "shared weights make a network less sensitive to shifts",
        LECTURE_3, convolution.shared_weights, 1.0,
        "Train both with augmentation.shift(2): what is left of the difference?",
    ),
    Experiment(
        "pooling", 3, "subsampling the pixels does not change the object", LECTURE_3,
        convolution.pooling, 0.3,
        "Pool twice, down to 2 by 2 pixels, or take nn.max_pool.",
    ),
    Experiment(
        "rotation", 3, "a CNN is not invariant to rotation; augmentation helps",
        LECTURE_3, moved.rotation, 2.0, "Test beyond the 90 degrees that the training saw.",
    ),
    Experiment(
        "translation", 3, "a CNN is not invariant to translation beyond its pooling; "
        "augmentation helps", LECTURE_3, moved.translation, 2.0,
        "Shift by 3 pixels, which the training did not see.",
    ),
    Experiment(
        "scale", 3, "a CNN is not invariant to scale; augmentation helps",
        LECTURE_3, moved.scale, 2.0, "Leave out augmentation.shift(2): does it help the sizes?",
    ),
    Experiment(
        "spatial-transformer", 3, "a network can learn to turn its input back",
        f"{LECTURE_3}; Jaderberg et al. 2015", moved.spatial_transformer, 6.0,
        "Let it move freely: transform='affine', and add augmentation.scale(1.3).",
    ),
    Experiment(
        "filters", 3, "a filter looks for a pattern, which gradient ascent shows",
        f"{LECTURE_3}; Zeiler and Fergus 2014", filters.filters, 2.0,
        "Take a filter of the last layer, or the logit of a class, instead.",
    ),
    Experiment(
        "go-policy", 3, "on a board nothing may be left out: no pooling",
        f"{LECTURE_3}; Silver et al. 2016 (AlphaGo)", go.go_policy, 25.0,
        "Leave out the planes of liberties, or let GNU Go play at a higher level.",
    ),
    Experiment(
        "bad-samples", 3, "P(a sample is bad) ≤ 2|H| exp(−2Nε²)",
        f"{LECTURE_3} (Pokémon and Digimon); Hoeffding 1963", validation.bad_samples, 0.5,
        "Take 10 thresholds instead of 100: by how much may N shrink?",
    ),
    Experiment(
        "edge-threshold", 3, "the more there is to choose from, the more examples it takes",
        f"{LECTURE_3} (Pokémon and Digimon)", validation.edge_threshold, 2.0,
        "Count edges with another limit than 0.3: does any tell the artists apart?",
    ),
    Experiment(
        "tents", 3, "K layers of two neurons make 2^K pieces, a shallow network needs as many",
        f"{LECTURE_3} (why deep); Telgarsky 2016", depth.tents, 1.0,
        "Change one weight of the first layer a little: how many pieces are left?",
    ),
    Experiment(
        "deep-against-fat", 3, "at equal parameters a deep network is better than a fat one",
        f"{LECTURE_3} (why deep); Seide, Li and Yu 2011", depth.deep_against_fat, 10.0,
        "Give the parity 1,000 rows instead of 300: how much of the difference is left?",
    ),
)  # fmt: skip
