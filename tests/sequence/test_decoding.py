"""Decoding against enumeration of all sequences, and against what is written in a table."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compilations
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import chisquare

from jaxml.course.chapter_05 import toy
from jaxml.sequence import decoding
from jaxml.sequence.decoding.sampling import cut

BEGIN, END = toy.BEGIN, toy.END
TABLE = toy.table_of(toy.SEQUENCES, toy.VOCABULARY)
TOY = {"begin": BEGIN, "end": END, "maximum_length": 5}


def random_table(seed, vocabulary, length, sharpness=1.0):
    shape = toy.nodes(vocabulary, length), vocabulary
    return (sharpness * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def enumerated(table, length, minimum=1, prefix=()):
    """Every sequence without padding and its log-probability: those that end, and those cut."""
    vocabulary = table.shape[1]
    scores = log_softmax(table.astype(np.float64), axis=1)

    def grow(tokens, score):
        if len(tokens) == length or (tokens and tokens[-1] == END):
            yield tokens, score
            return
        row = scores[toy.node(tokens, vocabulary)]
        for token in range(1, vocabulary):
            forced = len(tokens) >= len(prefix) or prefix[len(tokens)] == token
            early = token == END and len(tokens) + 1 < minimum
            if forced and not early:
                yield from grow((*tokens, token), score + row[token])

    return dict(grow((), 0.0))


def ranked(scores, length_penalty):
    ranking = {s: v / ((5 + len(s)) / 6) ** length_penalty for s, v in scores.items()}
    return sorted(ranking.items(), key=lambda item: -item[1])


def hypotheses(found, row=0):
    """The sequences of a row with their ends."""
    together = zip(found.tokens[row], found.lengths[row], strict=True)
    return [tuple(np.asarray(tokens[:length]).tolist()) for tokens, length in together]


def check_against_enumeration(vocabulary, length, minimum, seed, sharpness, penalty):
    table = random_table(seed, vocabulary, length, sharpness)
    size = vocabulary**length
    known = enumerated(table, length, minimum)
    order = ranked(known, penalty)
    found = decoding.beam(
        toy.step, table, toy.start(1), begin=BEGIN, end=END, maximum_length=length,
        minimum_length=minimum, size=size, length_penalty=penalty, n_best=size,
    )  # fmt: skip
    sequences = hypotheses(found)
    count = len(known)
    assert set(sequences[:count]) == set(known)
    np.testing.assert_allclose(
        found.scores[0, :count], [known[s] for s in sequences[:count]], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        found.ranking[0, :count], [value for _, value in order], rtol=1e-4, atol=1e-4
    )
    for own, (other, value) in zip(sequences, order, strict=False):
        if own != other:  # only where float32 does not tell them apart
            assert known[own] / ((5 + len(own)) / 6) ** penalty == pytest.approx(value, abs=1e-4)
    np.testing.assert_array_equal(
        found.finished[0, :count], [s[-1] == END for s in sequences[:count]]
    )
    assert np.isneginf(found.scores[0, count:]).all()
    assert not found.lengths[0, count:].any()
    assert not found.tokens[0, count:].any()


TABLES = {
    "seed": st.integers(0, 2**32 - 1),
    "sharpness": st.floats(0.1, 5),
    "penalty": st.floats(-3, 3),
}


@pytest.mark.slow
@given(**TABLES)
@settings(max_examples=25, deadline=None)
def test_a_beam_of_all_sequences_is_enumeration(seed, sharpness, penalty):
    check_against_enumeration(4, 3, 1, seed, sharpness, penalty)


@pytest.mark.slow
@given(
    shape=st.sampled_from([(3, 1, 1), (4, 1, 1), (3, 2, 2), (4, 2, 1), (3, 4, 3), (4, 4, 1)]),
    **TABLES,
)
@settings(max_examples=150, deadline=None)
def test_a_beam_of_all_sequences_is_enumeration_of_every_size(shape, seed, sharpness, penalty):
    check_against_enumeration(*shape, seed, sharpness, penalty)


@given(seed=TABLES["seed"], sharpness=TABLES["sharpness"], penalty=st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_stopping_early_changes_nothing(seed, sharpness, penalty):
    length = 5
    table = random_table(seed, 4, length, sharpness)
    found = decoding.beam(
        toy.step, table, toy.start(1), begin=BEGIN, end=END, maximum_length=length, size=3,
        length_penalty=penalty, n_best=2,
    )  # fmt: skip
    known = reference_beam(table, length, 3, penalty)[:2]
    # log-probabilities near 0 round as the logits they are made of
    np.testing.assert_allclose(
        found.ranking[0], [value for _, value in known], rtol=1e-4, atol=1e-6
    )


def test_a_longer_sequence_that_overtakes_is_waited_for():
    """Of equal beginnings the ended one ranks first, until the other is five long."""
    longer = (toy.A, toy.B, toy.C, toy.C, END)
    table = toy.table_of({(END,): 0.55, longer: 0.45}, toy.VOCABULARY)
    for penalty, best in ((0.0, (END,)), (1.0, longer)):
        found = decoding.beam(toy.step, table, toy.start(1), **TOY, length_penalty=penalty, size=2)
        assert hypotheses(found) == [best]
    assert float(found.ranking[0, 0]) == pytest.approx(np.log(0.45) / (10 / 6), rel=1e-5)


def two_tables(tables, tokens, cache):
    vocabulary = tables.shape[-1]
    now = jnp.where(cache["fed"] == 0, 0, cache["node"] * vocabulary + tokens + 1)
    attention = {"fed": tokens, "node": jnp.stack([now, cache["fed"]], -1)}
    return tables[cache["row"], now], cache | {"node": now, "fed": cache["fed"] + 1}, attention


def reference_beam(table, length, size, penalty):
    """Beam search in a loop, which never stops early."""
    vocabulary, scores = table.shape[1], log_softmax(table.astype(np.float64), axis=1)
    live, done = {(): 0.0}, {}
    for _ in range(length):
        extended = {
            (*s, token): v + scores[toy.node(s, vocabulary), token]
            for s, v in live.items() for token in range(1, vocabulary)
        }  # fmt: skip
        best = sorted(extended, key=lambda s: -extended[s])
        done |= {s: extended[s] for s in best[:size] if s[-1] == END}
        live = {s: extended[s] for s in [s for s in best if s[-1] != END][:size]}
    return ranked(done | live, penalty)


def test_the_toy():
    cache = toy.start(1)
    greedy = decoding.greedy(toy.step, TABLE, cache, **TOY)
    assert toy.spelled(greedy.tokens[0]) in ("dec", "dfc")
    assert np.exp(greedy.scores[0]) == pytest.approx(0.3)
    best = decoding.beam(toy.step, TABLE, cache, **TOY, size=2, n_best=2)
    assert toy.spelled(best.tokens[0, 0]) == "abc"
    np.testing.assert_allclose(np.exp(best.scores), [[0.4, 0.3]], rtol=1e-5)
    assert best.sequences() == [[[toy.A, toy.B, toy.C], greedy.sequences()[0]]]


@pytest.mark.parametrize("minimum", [1, 4])
def test_a_beam_of_one_is_greedy(minimum):
    for seed in range(20):
        table = random_table(seed, 4, 5, sharpness=2)
        options = {"begin": BEGIN, "end": END, "maximum_length": 5, "minimum_length": minimum}
        greedy = decoding.greedy(toy.step, table, toy.start(1), **options)
        beam = decoding.beam(toy.step, table, toy.start(1), **options, size=1)
        np.testing.assert_array_equal(beam.tokens[:, 0], greedy.tokens)
        np.testing.assert_array_equal(beam.lengths[:, 0], greedy.lengths)
        np.testing.assert_array_equal(beam.finished[:, 0], greedy.finished)
        np.testing.assert_allclose(beam.scores[:, 0], greedy.scores, rtol=1e-6)
        assert (greedy.lengths >= minimum).all()


@pytest.mark.slow
def test_scores_are_those_of_the_sequences_scored_again():
    tables = jnp.stack([random_table(seed, 4, 5) for seed in range(3)])
    cache = {**toy.start(3), "row": jnp.arange(3)}
    options = {"begin": BEGIN, "end": END, "maximum_length": 5}
    again = functools.partial(decoding.log_probabilities, two_tables, tables, begin=BEGIN)
    found = decoding.beam(
        two_tables, tables, cache, **options, size=4, n_best=3, length_penalty=1.0
    )
    for i in range(3):
        each = again(cache, found.tokens[:, i], found.lengths[:, i])
        np.testing.assert_allclose(each.sum(1), found.scores[:, i], rtol=1e-5)
    drawn = decoding.sample(
        two_tables, tables, cache, **options, key=jax.random.key(0), temperature=0.7, top_p=0.9
    )
    np.testing.assert_allclose(
        again(cache, drawn.tokens, drawn.lengths).sum(1), drawn.scores, rtol=1e-5
    )


@pytest.mark.slow
def test_attention_is_that_of_each_token():
    tables = jnp.stack([random_table(seed, 4, 5) for seed in range(3)])
    cache = {**toy.start(3), "row": jnp.arange(3)}
    options = {"begin": BEGIN, "end": END, "maximum_length": 5, "attention": True}
    beam = decoding.beam(two_tables, tables, cache, **options, size=4, n_best=3)
    greedy = decoding.greedy(two_tables, tables, cache, **options)
    greedy = jax.tree.map(lambda leaf: leaf[:, None], greedy)
    lengths = set()
    for found in (beam, greedy):
        assert found.attention["node"].shape == (*found.tokens.shape, 2)
        for row, i in itertools.product(range(3), range(found.tokens.shape[1])):
            sequence = hypotheses(found, row)[i]
            fed = np.asarray(found.attention["fed"][row, i])
            nodes = [toy.node(sequence[:t], 4) for t in range(len(sequence))]
            np.testing.assert_array_equal(fed[: len(sequence)], (BEGIN, *sequence[:-1]))
            np.testing.assert_array_equal(
                found.attention["node"][row, i, : len(sequence), 0], nodes
            )
            assert not fed[len(sequence) :].any()
            assert not found.attention["node"][row, i, len(sequence) :].any()
            lengths.add(len(sequence))
    assert len(lengths) > 2
    assert decoding.greedy(toy.step, TABLE, toy.start(1), **TOY).attention is None


@pytest.mark.slow
def test_prefixes_of_unequal_length_are_those_of_each_row_alone():
    tables = jnp.stack([random_table(seed, 4, 5) for seed in range(3)])
    prefix, lengths = np.array([[3, 1, 3], [1, 0, 0], [0, 0, 0]]), np.array([3, 1, 0])
    options = {"begin": BEGIN, "end": END, "maximum_length": 5}
    for decode in (decoding.greedy, functools.partial(decoding.beam, size=3, n_best=2)):
        cache = {**toy.start(3), "row": jnp.arange(3)}
        found = decode(two_tables, tables, cache, **options, prefix=prefix, prefix_length=lengths)
        for row, length in enumerate(lengths):
            alone = decode(
                two_tables, tables, {**toy.start(1), "row": jnp.array([row])}, **options,
                prefix=prefix[row : row + 1], prefix_length=lengths[row : row + 1],
            )  # fmt: skip
            np.testing.assert_array_equal(found.tokens[row], alone.tokens[0])
            np.testing.assert_allclose(found.scores[row], alone.scores[0], rtol=1e-6)
            first = np.atleast_2d(found.tokens[row])[:, :length]
            np.testing.assert_array_equal(first, np.broadcast_to(prefix[row, :length], first.shape))
    best = ranked(enumerated(np.asarray(tables[0]), 5, prefix=(3, 1, 3)), 0.0)[0]
    whole = decoding.beam(
        two_tables, tables, {**toy.start(1), "row": jnp.array([0])}, **options, prefix=prefix[:1],
        prefix_length=lengths[:1], size=3, n_best=2,
    )  # fmt: skip
    assert hypotheses(whole)[0] == best[0]
    assert float(whole.scores[0, 0]) == pytest.approx(best[1], rel=1e-5)
    drawn = decoding.sample(
        two_tables, tables, cache, **options, prefix=prefix, prefix_length=lengths,
        key=jax.random.key(0), temperature=1e-3,
    )  # fmt: skip
    np.testing.assert_array_equal(drawn.tokens[0, :3], prefix[0])


def test_forbidden_tokens_are_left_out():
    def without_a(logits):
        return logits.at[:, toy.A].set(-jnp.inf)

    found = decoding.beam(toy.step, TABLE, toy.start(1), **TOY, size=4, n_best=4, adjust=without_a)
    assert {toy.spelled(s) for s in found.tokens[0, :2]} == {"dec", "dfc"}
    np.testing.assert_allclose(np.exp(found.scores[0, :2]), 0.5, rtol=1e-5)
    assert np.isneginf(found.scores[0, 2:]).all()  # there are but two
    again = decoding.log_probabilities(
        toy.step, TABLE, toy.start(1), found.tokens[:, 0], found.lengths[:, 0], begin=BEGIN,
        adjust=without_a,
    )  # fmt: skip
    np.testing.assert_allclose(again.sum(1), found.scores[:, 0], rtol=1e-6)


def test_padding_is_never_emitted():
    table = random_table(0, 4, 3)
    table[:, 0] = 10
    for found in (
        decoding.greedy(toy.step, table, toy.start(1), begin=BEGIN, end=END, maximum_length=3),
        decoding.sample(
            toy.step, table, toy.start(50), begin=BEGIN, end=END, maximum_length=3,
            key=jax.random.key(0),
        ),
    ):  # fmt: skip
        emitted = np.arange(3) < np.asarray(found.lengths)[:, None]
        assert (np.asarray(found.tokens)[emitted] != 0).all()
        assert not np.asarray(found.tokens)[~emitted].any()


def drawn_shares(rows=4000, **options):
    drawn = decoding.sample(
        toy.step, TABLE, toy.start(rows), **TOY, key=jax.random.key(0), **options
    )
    words = [toy.spelled(tokens) for tokens in np.asarray(drawn.tokens)]
    return [words.count(word) for word in ("abc", "dec", "dfc")], drawn


def test_samples_are_of_the_table():
    counts, drawn = drawn_shares()
    assert sum(counts) == 4000
    assert chisquare(counts, np.array([0.4, 0.3, 0.3]) * 4000).pvalue > 1e-3
    assert chisquare(counts, np.array([0.38, 0.31, 0.31]) * 4000).pvalue < 0.1  # it can tell
    known = np.where(drawn.tokens[:, 0] == toy.A, 0.4, 0.3)
    np.testing.assert_allclose(np.exp(drawn.scores), known, rtol=1e-5)


def test_draws_are_independent_of_those_before():
    pairs = list(itertools.product((toy.A, toy.B), repeat=2))
    table = toy.table_of({(*pair, END): 0.25 for pair in pairs}, toy.VOCABULARY)
    drawn = decoding.sample(
        toy.step, table, toy.start(4000), **TOY, key=jax.random.key(1)
    ).sequences()  # fmt: skip
    assert chisquare([drawn.count([*pair]) for pair in pairs]).pvalue > 1e-3


def test_temperature_sharpens():
    counts, _ = drawn_shares(temperature=0.5)
    first = 0.4**2 / (0.4**2 + 0.6**2)
    known = np.array([first, (1 - first) / 2, (1 - first) / 2]) * 4000
    assert chisquare(counts, known).pvalue > 1e-3


def test_top_k_of_one_is_greedy_and_of_all_is_none():
    counts, drawn = drawn_shares(top_k=1)
    greedy = decoding.greedy(toy.step, TABLE, toy.start(1), **TOY)
    assert (drawn.tokens == greedy.tokens).all()
    assert counts[0] == 0


@given(
    logits=st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    top_p=st.floats(0.01, 1),
    top_k=st.sampled_from([None, 1, 3]),
)
@settings(max_examples=100, deadline=None)
def test_the_smallest_set_that_suffices_is_kept(logits, top_p, top_k):
    logits = np.array(logits, np.float32)
    kept = np.asarray(jnp.isfinite(cut(jnp.asarray(logits)[None], top_k, top_p)))[0]
    if top_k is not None:
        logits = np.where(np.argsort(np.argsort(-logits, kind="stable")) < top_k, logits, -np.inf)
    p = np.exp(log_softmax(logits.astype(np.float64)))
    best = np.sort(p)[::-1]
    counts = [n for n in range(1, 7) if best[:n].sum() >= top_p - 1e-6]
    fewest = counts[0] if counts else 6
    close = np.abs(np.cumsum(best) - top_p).min() < 1e-5  # float32 does not tell
    assert kept.sum() == fewest or close
    if kept.any() and not kept.all():
        assert p[kept].min() >= p[~kept].max()


def test_what_is_compiled_serves_other_numbers():
    def decode(table, number):
        options = {"begin": BEGIN, "end": END, "maximum_length": 4}
        prefix, lengths = np.full((1, 2), 3), np.array([int(number > 1)])
        forced = options | {"prefix": prefix, "prefix_length": lengths}
        decoding.greedy(toy.step, table, toy.start(1), **forced)
        decoding.beam(toy.step, table, toy.start(1), **forced, length_penalty=number, size=2)
        decoding.sample(
            toy.step, table, toy.start(1), **options, key=jax.random.key(0), temperature=number,
            top_p=number / 3,
        )  # fmt: skip

    decode(random_table(0, 4, 4), 1.0)
    with compilations() as counts:
        decode(random_table(1, 4, 4), 2.0)
    assert not {"_greedy", "_beam", "_sample", "step"} & set(counts)


def good(decode, **changed):
    options = dict(step=toy.step, params=TABLE, cache=toy.start(2), **TOY) | changed
    return decode(options.pop("step"), options.pop("params"), options.pop("cache"), **options)


def two_outputs(params, tokens, cache):
    return params[tokens], cache


def one_row(params, tokens, cache):
    return params[:1], cache, None


def grown(params, tokens, cache):
    return params[tokens], jax.tree.map(lambda x: jnp.append(x, x), cache), None


def mapped(params, tokens, cache):
    return params[tokens], cache, jnp.zeros(3)


REFUSED = {
    "no function": ({"step": 3}, r"a step \(params, tokens, cache\) -> .*, got 3"),
    "two outputs": ({"step": two_outputs}, r"a step \(params, tokens, cache\)"),
    "one row": ({"step": one_row}, r"logits of shape \(2, vocabulary\), got \(1, 9\)"),
    "another cache": ({"step": grown}, "a step that keeps its cache"),
    "attention of no rows": ({"step": mapped}, "attention of 2 rows, got 3"),
    "no rows": ({"cache": {}}, r"cache to be of arrays with rows .*, got shapes \[\]"),
    "unequal rows": (
        {"cache": {**toy.start(2), "node": jnp.zeros(3, int)}}, r"rows .*, got shapes \[\(2,\), "
    ),
    "begin outside": ({"begin": 9}, "begin to be a token from 0 to 8, got 9"),
    "begin no number": ({"begin": 1.0}, "begin to be a token from 0 to 8, got 1.0"),
    "end outside": ({"end": -1}, "end to be a token from 0 to 8, got -1"),
    "end is padding": ({"end": 0}, "an end other than 0, which is padding, got 0"),
    "end is begin": ({"end": 1}, "begin and end to be two tokens, got 1 for both"),
    "maximum 0": ({"maximum_length": 0}, "maximum_length to be a whole number of at least 1"),
    "minimum 0": ({"minimum_length": 0}, "minimum_length to be a whole number of at least 1"),
    "below the minimum": ({"minimum_length": 6}, "minimum_length of at most .* 5, got 6"),
    "prefix too long": ({"prefix": np.full((2, 6), 3)}, "the longest prefix's 6, got 5"),
    "prefix of other rows": ({"prefix": np.full((3, 2), 3)}, r"prefix of shape \(2, k\), got"),
    "prefix of numbers": ({"prefix": np.full((2, 2), 3.0)}, "prefix to be of whole numbers"),
    "prefix outside": ({"prefix": np.full((2, 2), 9)}, "prefix with tokens from 0 to 8, got .9"),
    "prefix with padding": ({"prefix": np.array([[3, 0], [3, 3]])}, "prefixes without padding"),
    "prefix with the end": ({"prefix": np.array([[3, 2], [3, 3]])}, "prefixes without .*end"),
    "lengths without": ({"prefix_length": np.array([1, 1])}, "a prefix, where there is a"),
    "lengths beyond": (
        {"prefix": np.full((2, 2), 3), "prefix_length": np.array([1, 3])},
        "prefix_length from 0 to 2, got .3",
    ),
    "lengths of one row": (
        {"prefix": np.full((2, 2), 3), "prefix_length": np.array([1])}, "prefix_length as 2 whole"
    ),
    "adjust": ({"adjust": 3}, "adjust as a function of logits, got 3"),
    "no attention": ({"attention": True}, "a step that returns attention, to keep it, got None"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(case):
    changed, message = REFUSED[case]
    key = {"key": jax.random.key(0)}
    for decode, own in ((decoding.greedy, {}), (decoding.beam, {}), (decoding.sample, key)):
        with pytest.raises(ValueError, match=message):
            good(decode, **changed, **own)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 0}, "size to be a whole number of at least 1, got 0"),
        ({"size": 9**5 + 1}, "size of at most the number of sequences, 59049, got 59050"),
        ({"size": 2, "n_best": 3}, "n_best of at most the beam's size, 2, got 3"),
        ({"n_best": 0}, "n_best to be a whole number of at least 1, got 0"),
        ({"length_penalty": np.nan}, "length_penalty as a finite number, got nan"),
        ({"length_penalty": np.inf}, "length_penalty as a finite number, got inf"),
        ({"length_penalty": -1e4}, "length_penalty as a finite number, got -10000.0"),
    ],
)
def test_bad_beams_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        good(decoding.beam, **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": 0}, "a temperature above 0, got 0"),
        ({"temperature": -1.0}, "a temperature above 0, got -1.0"),
        ({"temperature": np.nan}, "a temperature above 0, got nan"),
        ({"top_p": 0.0}, "top_p above 0 and at most 1, got 0.0"),
        ({"top_p": 1.01}, "top_p above 0 and at most 1, got 1.01"),
        ({"top_k": 0}, "top_k to be a whole number of at least 1, got 0"),
        ({"top_k": 10}, "top_k of at most the vocabulary's 9, got 10"),
    ],
)
def test_bad_samples_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        good(decoding.sample, key=jax.random.key(0), **changed)


def test_tokens_to_score_are_checked():
    score = functools.partial(decoding.log_probabilities, toy.step, TABLE, toy.start(1))
    with pytest.raises(ValueError, match="tokens with tokens from 0 to 8"):
        score([[9]], [1], begin=BEGIN)
    with pytest.raises(ValueError, match="lengths from 0 to 1"):
        score([[3]], [2], begin=BEGIN)
    with pytest.raises(ValueError, match="at least one token"):
        score(np.zeros((1, 0), int), [0], begin=BEGIN)
