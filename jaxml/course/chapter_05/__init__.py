"""Chapter 5, the Transformer: how a network writes a sequence."""

from __future__ import annotations

from jaxml.course.chapter_05 import (
    alignments,
    at_once,
    copying,
    curvature,
    detection,
    exact,
    exposure,
    modern_english,
    monolingual,
    norms,
    pronunciation,
    recognition,
    rewards,
    scheduled,
    searches,
    stresses,
    translation,
    word_rewards,
)
from jaxml.course.experiment import Experiment

LECTURE_5 = "Hung-yi Lee, Machine Learning 2021 and 2022, lecture 5"

EXPERIMENTS = (
    Experiment(
        "pronunciation", 5, "a Transformer learns to pronounce English from a dictionary",
        f"{LECTURE_5}; Vaswani et al. 2017", pronunciation.pronunciation, 40.0,
        "Decode without beam search, or with a beam of 20; train on every pronunciation.",
    ),
    Experiment(
        "pronunciation-by-lstm", 5,
        "a recurrent network that looks at the letters by attention learns to pronounce too",
        f"{LECTURE_5}; Bahdanau et al. 2015", pronunciation.pronunciation_by_lstm, 30.0,
        "Look by products (attention=\"dot\"), or at a GRU (cell=\"gru\"): what do they cost?",
    ),
    Experiment(
        "machine-translation", 5, "a Transformer translates better than the nearest verse it knows",
        f"{LECTURE_5}; Vaswani et al. 2017", translation.translation, 35.0,
        "Let it translate into the English of 1611 (\"es-kjv\"): is that harder?",
    ),
    Experiment(
        "modern-english", 5,
        "a network that may copy changes what has changed in a text, and leaves the rest",
        f"{LECTURE_5}; See et al. 2017 (arXiv:1704.04368), Carlson et al. 2018 (arXiv:1711.04731) "
        "for the Bible", modern_english.modern_english, 12.0,
        "Leave out the penalty on far attention (STRENGTH = 0): when does it begin to copy?",
    ),
    Experiment(
        "speech-recognition", 5, "the same kind of network writes down what it hears",
        f"{LECTURE_5}; Chan et al. 2016 (arXiv:1508.01211), Chorowski et al. 2015",
        recognition.recognition, 5.0,
        "Let a Transformer listen (nn.transformer, tokens=False), or leave out the synthesizer.",
    ),
    Experiment(
        "stress", 5, "an encoder that reads the whole word tells the stress of each vowel",
        f"{LECTURE_5}, on N outputs for N inputs; Vaswani et al. 2017", stresses.stress, 10.0,
        "Leave out the positions (positions=None): how much of the stress is told by the order?",
    ),
    Experiment(
        "exposure-bias", 5, "a network that only ever saw right tokens fails behind its own",
        f"{LECTURE_5}; Bengio et al. 2015", exposure.exposure_bias, 1.0,
        "Count modulo 2 (BASE = 2): where do the two accuracies end?",
    ),
    Experiment(
        "scheduled-sampling", 5, "a network that saw its own tokens in training goes on from them",
        f"{LECTURE_5}; Bengio et al. 2015", scheduled.scheduled_sampling, 3.5,
        "Show no glimpses of the sum (BLURRED = 1): what can scheduled sampling gain then?",
    ),
    Experiment(
        "copying", 5, "a network that may copy puts out words that it never saw",
        f"{LECTURE_5}; See et al. 2017 (arXiv:1704.04368)", copying.copying, 3.0,
        "Let each test sequence have one Greek letter alone: what does the other network put out?",
    ),
    Experiment(
        "longer-sequences", 5,
        "a Transformer that learned a rule of short sequences does not follow it in longer ones",
        f"{LECTURE_5}; Kazemnejad et al. 2023 (arXiv:2305.19466)", exact.longer_sequences, 3.0,
        "Leave out the positions (positions=None), or train with sequences of up to 20 symbols.",
    ),
    Experiment(
        "guided-attention", 5, "a penalty on far attention makes it follow the source",
        f"{LECTURE_5}; Tachibana et al. 2017 (arXiv:1710.08969)", alignments.guided_attention, 10.0,
        "Guide it along the other diagonal: does it learn to write at all?",
    ),
    Experiment(
        "non-autoregressive", 5, "who puts out all words at once mixes up several right answers",
        f"{LECTURE_5}; Gu et al. 2018 (arXiv:1711.02281)", at_once.all_at_once, 3.0,
        "Let three of four translations be of one dialect: what is drawn, what is likeliest?",
    ),
    Experiment(
        "decoding", 5, "the likeliest next token does not lead to the likeliest sequence",
        LECTURE_5, searches.searches, 0.5,
        "Write a table with which a beam of two fails as well.",
    ),
    Experiment(
        "reward", 5, "what has no gradient can be learned as a reward",
        f"{LECTURE_5}; Ranzato et al. 2016, Rennie et al. 2017", rewards.reward, 1.5,
        "Reward the length instead: what is written then?",
    ),
    Experiment(
        "word-rewards", 5, "what cross-entropy trained gains by a reward for what it writes",
        f"{LECTURE_5}; Ranzato et al. 2016, Rennie et al. 2017", word_rewards.word_rewards, 6.0,
        "Reward only whole words that are right: is it still learned?",
    ),
    Experiment(
        "digit-boxes", 5, "a set is put out at once: its loss matches it with the right one",
        f"{LECTURE_5}; Carion et al. 2020 (arXiv:2005.12872)", detection.digit_boxes, 8.0,
        "Give it 20 queries (QUERIES = 20): are digits found twice?",
    ),
    Experiment(
        "back-translation", 5, "targets without a source help, if a network makes up their sources",
        f"{LECTURE_5}; Sennrich et al. 2016 (arXiv:1511.06709)", monolingual.back_translation, 6.0,
        "Let the network that spells draw its letters (search=decoding.sample).",
    ),
    Experiment(
        "norm-position", 5, "a Transformer with its norms before the layers needs no warm-up",
        f"{LECTURE_5}; Xiong et al. 2020 (arXiv:2002.04745)", norms.norm_position, 10.0,
        "Give the network with post-norm two layers: which rates does it survive?",
    ),
    Experiment(
        "transformer-curvature", 5,
        "few eigenvalues of a Transformer's Hessian are large, and products alone find them",
        f"{LECTURE_5}; Ghorbani et al. 2019 (arXiv:1901.10159) for other networks",
        curvature.transformer_curvature, 6.0,
        "Train with label_smoothing=0.1: what becomes of the largest eigenvalues?",
    ),
)  # fmt: skip
