"""What pages and figures of studies say and show is what their numbers are."""

import dataclasses
import math

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from jaxml import landscape, studies
from jaxml.core.drawing import styles
from jaxml.core.finding import finding
from jaxml.studies.batch_scaling import pictures
from jaxml.studies.sweep import views as sweep_views
from jaxml.studies.topics import generalization_view, sharpening_view

SIZES = (8, 64, 512)


def a_study(
    optimizers=("sgd",), momenta=(0.0,), rates=(0.1, 0.2, 0.4), seeds=2, hit=True, sizes=SIZES
):
    """Made up: of the k-th group a lane needs 1000 + 10k steps at B = 8, and fewer at larger B."""
    lanes = studies.grid(sizes, rates, optimizers=optimizers, momenta=momenta, seeds=seeds)
    groups = sorted(set(zip(lanes.optimizer, lanes.momentum, strict=True)))
    number = np.array([groups.index(g) for g in zip(lanes.optimizer, lanes.momentum, strict=True)])
    off = 1 + abs(lanes.learning_rate - 0.2) + lanes.seed / 100
    updates = np.round((1000 + 10 * number) * (1 / 8 + 7 / lanes.batch_size) * off).astype(int)
    count = len(lanes)
    times = 4
    done = np.linspace(1 / times, 1, times)
    records = {
        "lane": np.repeat(np.arange(count), times),
        "updates": np.round(updates[:, None] * done).astype(int).ravel(),
        "validation loss": np.tile(np.linspace(1, 0.2, times), count),
        "validation error": np.tile(np.linspace(0.9, 0.1, times), count) + 0.01 * number[:, None]
        .repeat(times, 1).ravel(),
    }  # fmt: skip
    return studies.Study(
        lanes=lanes, target=studies.Target(0.1), microbatch=np.ones(count, int),
        budget=updates, exits=np.full(count, "target" if hit else "budget", dtype="U10"),
        updates=updates, records=records, params=None, examples=1000, size=10,
        seconds={"compile": 1.0, "run": 1.0}, programs={},
    )  # fmt: skip


def findings_of(study, throughput=()):
    """As `studies.findings`, with few resamples."""
    table = studies.steps_to_target(study, by_momentum=True, resamples=4)
    groups = sorted({(row.optimizer, row.momentum) for row in table.rows})
    fits = {group: studies.by_hyperbola(table.of(*group)) for group in groups}
    overhead = {group: studies.by_overhead(table.of(*group)) for group in groups}
    return studies.Findings(study, table, fits, overhead, {}, throughput)


MANY = {"optimizers": tuple(studies.OPTIMIZERS), "momenta": (0.0, 0.9)}


@pytest.fixture(scope="module")
def many():
    """Thirteen groups: more than there are colours."""
    speed = [studies.Throughput(size, 1e-4 * size, 0.1) for size in SIZES]
    return findings_of(a_study(**MANY), throughput=speed)


def drawn(figure):
    """The axes of a picture, after it was rendered."""
    canvas = Figure(layout="constrained")
    ax = canvas.add_subplot()
    figure.draw(ax)
    canvas.canvas.draw()
    return ax


def words_of(found):
    """All that a page says."""
    shown = finding(found)
    cells = [str(section.table) for section in shown.sections]
    return " ".join([shown.verdict, *shown.text, *(s.text for s in shown.sections), *cells,
                     *shown.tiles.values()])  # fmt: skip


def looks(lines):
    return {
        (to_rgba(line.get_color()), str(line.get_linestyle()), str(line.get_marker()))
        for line in lines
    }


def of_groups(ax, names):
    found = {}
    for line in ax.lines:
        if line.get_label().removesuffix(": missed") in names:
            found[line.get_label().removesuffix(": missed")] = line
    for container in ax.containers:
        if container.get_label() in names:
            found[container.get_label()] = container.lines[0]
    return found


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("count", [0, 1, 8, 14, 40, 280])
def test_styles_are_all_different(count, ordered):
    found = styles(count, ordered=ordered)
    assert len({tuple(style.values()) for style in found}) == len(found) == count
    alone = {(style["color"], style["linestyle"]) for style in found}
    assert ordered or len(alone) == min(count, 32)


@pytest.mark.parametrize("name", ["updates", "examples", "rates", "budgets", "throughput"])
def test_no_group_is_missing_or_like_another(many, name):
    names = [sweep_views.named(*group) for group in pictures.groups_of(many)]
    assert len(names) == 13
    figures = getattr(pictures, name)(many)
    ax = drawn(figures[2] if isinstance(figures, list) else figures)
    found = of_groups(ax, names)
    assert sorted(found) == sorted(names)
    assert len(looks(found.values())) == len(names)
    if name != "examples":  # where groups agree, they stand side by side
        places = {line.get_xdata()[0] for line in found.values() if len(line.get_xdata())}
        assert len(places) == len(names)
    assert set(names) <= {text.get_text() for text in ax.get_legend().get_texts()}


def test_a_group_that_misses_is_named():
    study = a_study(optimizers=("sgd", "adam"), rates={"sgd": [0.1, 0.2], "adam": [0.1, 0.2]})
    exits = np.where(study.lanes.optimizer == "adam", "budget", "target").astype("U10")
    found = findings_of(dataclasses.replace(study, exits=exits))
    for name in ("updates", "examples", "rates"):
        labels = drawn(getattr(pictures, name)(found)).get_legend_handles_labels()[1]
        assert "adam: missed" in labels
        assert "sgd" in labels


@pytest.mark.parametrize("sizes", [SIZES, (64,)])
def test_a_page_of_misses(sizes):
    found = findings_of(a_study(seeds=3, hit=False, sizes=sizes))
    assert finding(found).verdict.startswith("no configuration hits the target; next: ")
    page = words_of(found)
    assert "none hit" in page
    assert "where some miss, it is from the least to the largest" in page
    for figure in finding(found).figures:
        drawn(figure)


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [
        # B = 8, 64, 512
        ((1000, 300, 290), "use sgd, B = 64, η = 0.2: 300 updates; larger batches save under 20%"),
        ((1000, 300, 200), "use sgd, B = 512, η = 0.2: 200 updates; it is the largest batch tried"),
        ((100, 99, 98), "use sgd, B = 8, η = 0.2: 100 updates; larger batches save under 20%"),
        ((1000, 300, np.inf), "use sgd, B = 64, η = 0.2: 300 updates; larger batches miss the"),
    ],
)
@pytest.mark.parametrize("rates", [(0.1, 0.2, 0.4), (0.1, 0.2)])
def test_the_advice_is_what_the_steps_say(steps, verdict, rates):
    """The batch that no larger one beats by a fifth; and whether its rate is at the grid's edge."""
    study = a_study(rates=rates)
    at = dict(zip(SIZES, steps, strict=True))
    own = np.array([at[size] for size in study.lanes.batch_size])
    own = np.where(study.lanes.learning_rate == 0.2, own, 3 * own)
    exits = np.where(np.isfinite(own), "target", "budget").astype("U10")
    updates = np.where(np.isfinite(own), own, 5000).astype(int)
    found = findings_of(dataclasses.replace(study, exits=exits, updates=updates))
    text = finding(found).verdict
    assert text.startswith(verdict)
    assert text.endswith("widen the grid") == (len(rates) == 2)
    assert finding(found.table).verdict == text


def test_one_batch_size_compares_optimizers():
    rates = {key: [0.1, 0.2, 0.4] for key in ("sgd", "adam")}
    found = findings_of(a_study(optimizers=("sgd", "adam"), sizes=(64,), rates=rates))
    first, second = sorted(found.table.rows, key=lambda row: row.steps)
    text = finding(found).verdict
    assert text.startswith(f"use {first.optimizer}, B = 64, η = 0.2")
    assert text.endswith(f"the next best takes {second.steps / first.steps:.3g} times as many")


def test_outcomes_are_blank_where_no_lane_was(many):
    assert len(pictures.outcomes(many)) == 13
    lanes = many.study.lanes
    some = np.flatnonzero(~((lanes.batch_size == 8) & (lanes.learning_rate == 0.1)))
    study = many.study
    part = dataclasses.replace(
        study, lanes=lanes.take(some), exits=study.exits[some], updates=study.updates[some]
    )
    image = drawn(pictures.outcomes(dataclasses.replace(many, study=part))[0]).images[0]
    assert np.ma.getmaskarray(image.get_array())[0, 0]  # the lowest rate at the smallest batch
    assert not np.ma.getmaskarray(image.get_array())[0, 1]


def test_one_lane_of_each_batch_size_is_drawn_the_best():
    study = a_study()
    ax = drawn(sweep_views.curves(study))
    lines = [line for line in ax.lines if str(line.get_label()).startswith("B = ")]
    assert [line.get_label() for line in lines] == [f"B = {size:,}" for size in SIZES]
    for line, size in zip(lines, SIZES, strict=True):
        own = study.lanes.batch_size == size
        best = study.updates[own].min()  # all hit the target: the first to
        assert line.get_xdata()[-1] == best * size
    assert finding(study).verdict.startswith("best: sgd, B = 512, η = 0.2, validation error 0.1")


def test_descents_and_edges_draw_all():
    found = studies.descents(
        *studies.SURFACES["saddle"], optimizers=tuple(studies.OPTIMIZERS), steps=20
    )
    for figure in (sweep_views.paths("saddle", found), sweep_views.falls(found)):
        ax = drawn(figure)
        lines = [line for line in ax.lines if "η" in str(line.get_label())]
        assert len(looks(lines)) == len(found.names) == len(studies.OPTIMIZERS)
    runs = [
        studies.Sharpening(
            "sgd", rate, np.arange(3), np.array([1.0, 2.0, top]), np.zeros(3), 2.0,
            np.ones(3), diverged=False,
        )
        for rate, top in zip(range(1, 11), np.linspace(0, 4, 10), strict=True)
    ]  # fmt: skip
    left = drawn(sharpening_view.edges(runs)[0])
    lines = [line for line in left.lines if "η" in str(line.get_label())]
    assert len(looks(lines)) == 10
    arrows = [line for line in left.lines if "uparrow" in str(line.get_marker())]
    assert sum(len(line.get_xdata()) for line in arrows) == 3  # of 10 tops, those above 3


def test_budgets_compare_equal_examples():
    assert pictures.common_budget({8: np.arange(8, 1001, 8), 512: np.array([512, 1024])}) == (
        512,
        512,
    )
    # nothing is equal: the title says from what to what
    assert pictures.common_budget({8: np.array([1000]), 512: np.array([512, 1024])}) == (
        512,
        1000,
    )
    assert pictures.common_budget({8: np.array([0, 1]), 512: np.array([0])}) == (1, 1)
    study = a_study(seeds=1, rates=(0.2,))
    lanes = study.lanes
    # B = 8 is measured after 504 and 1,000 examples, B = 512 after 512 and 1,024
    updates = {8: [63, 125], 64: [8, 16], 512: [1, 2]}
    records = {
        "lane": np.repeat(np.arange(3), 2),
        "updates": np.concatenate([updates[size] for size in lanes.batch_size.tolist()]),
        "validation error": np.array([0.5, 0.1] * 3),
        "validation loss": np.array([0.5, 0.1] * 3),
    }
    found = findings_of(dataclasses.replace(study, records=records))
    first, second, third = map(drawn, pictures.budgets(found))
    assert second.get_xlabel() == "batch size B, at 504 to 512 examples"
    np.testing.assert_array_equal(second.lines[0].get_ydata(), [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(third.lines[0].get_ydata(), [0.1, 0.1, 0.1])
    assert "updates" in first.get_xlabel()


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (1, "With one seed there is no interval."),
        (3, "3 seeds are too few for an interval that supposes nothing (6 at 95%)"),
        (6, "Each lies between two of the 6 seeds' numbers of steps, at 95%."),
    ],
)
def test_a_page_says_what_its_intervals_are(seeds, said):
    found = findings_of(a_study(seeds=seeds))
    text = words_of(found)
    assert said in text
    assert "bootstrap" not in text


def sharp(value, trace=10.0):
    rise = landscape.Rise(0.1, 0.0)
    return landscape.Sharpness(
        loss=0.3, largest_eigenvalue=value, residual=1e-5, converged=True, trace=trace,
        trace_error=1.0, trace_low=trace - 3, trace_high=trace + 3, keskar=1.0, sam=rise,
        adaptive_sam=rise,
    )  # fmt: skip


def equal(values, sizes, missed=0):
    """`EqualLoss` of lanes with such λ_max and batch sizes."""
    minima = [
        studies.Minimum(i, size, i // 3, 10, sharp(value), 0.5, {})
        for i, (value, size) in enumerate(zip(values, sizes, strict=True))
    ]
    from jaxml.studies.batch_scaling.sharpness_at_equal_loss import _rank  # noqa: PLC0415

    return studies.EqualLoss(0.3, minima, missed, *_rank(minima), None, a_study())


NAN = math.nan


@pytest.mark.parametrize(
    ("values", "sizes", "said"),
    [
        ([], [], "no lane met a training loss of 0.3: 5 missed it"),
        ([1.0, 2.0], [8, 8], "λ_max 1 to 2; 1 batch size tells no rank correlation"),
        ([1.0, 2.0], [8, 64], "2 batch sizes tell no rank correlation, 3 are the least"),
        ([2.0] * 6, [8, 64, 512] * 2, "λ_max is 2 in all lanes where it is finite"),
        ([NAN] * 6, [8, 64, 512] * 2, "λ_max is finite in no lane"),
        ([NAN, 1.0, 2.0] * 2, [8, 64, 512] * 2, "2 batch sizes tell no rank correlation"),
        ([1.0, 2.0, 3.0] * 3, [8, 64, 512] * 3, "λ_max rises with the batch size, rank corr"),
        ([3.0, 2.0, 1.0] * 3, [8, 64, 512] * 3, "λ_max falls with the batch size, rank corr"),
        ([1.0, 3.0, 2.0], [8, 64, 512], "chance explains how λ_max goes with the batch size"),
    ],
)
def test_equal_loss_says_what_it_has(values, sizes, said, recwarn):
    found = equal(values, sizes, missed=5)
    assert said in str(found)
    assert "nan" not in str(found)
    assert math.isnan(found.rank) == math.isnan(found.p_value)
    findings = dataclasses.replace(findings_of(a_study()), equal_loss=found)
    assert said[3:] in words_of(findings)
    assert len(finding(found).figures) == (3 if values else 0)
    for figure in finding(found).figures:
        drawn(figure)
    assert not [w for w in recwarn if "Constant" in str(w.message)]


def test_a_trace_below_zero_is_shown():
    found = equal([1.0, 2.0, 3.0], [8, 64, 512])
    minima = [m._replace(sharpness=sharp(1.0, trace)) for m, trace in
              zip(found.minima, [-5.0, 2.0, 4.0], strict=True)]  # fmt: skip
    ax = drawn(pictures.sharpness(dataclasses.replace(found, minima=minima))[1])
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] < -5


def depth(seeds, rate=0.1, error=0.01):
    return studies.Depth((64, 9, 10), 700, rate, 0.2, 0.9, error, seeds, a_study())


@pytest.mark.parametrize(
    ("found", "said", "bars"),
    [
        (depth(1, error=NAN), "90.00% (one seed)", "one seed"),
        (depth(3), "90.00% ± 1.00%", "± standard error"),
        (depth(3, rate=NAN), "none: at every rate a seed ended not finite", "± standard error"),
    ],
)
def test_depth_tells_a_spread_where_there_is_one(found, said, bars):
    study = studies.DepthStudy([found], {1: 2})
    table = finding(study).sections[0].table
    assert table.rows[0][-1] == said
    assert "nan" not in str(table)
    verdict = finding(study).verdict
    assert verdict == (
        "no depth ended finite at all seeds; next: smaller rates"
        if math.isnan(found.learning_rate)
        else f"1 hidden layer of 9: {said}"
    )
    assert bars in drawn(finding(study).figures[1]).get_ylabel()


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ((0.10, 0.12), "the difference is no more than two standard errors"),  # 2·√2 % is more
        ((0.10, 0.14), "the difference is more than two standard errors"),
        ((0.14, 0.10), "the difference is more than two standard errors"),
    ],
)
def test_a_depth_leads_where_it_does(errors, said):
    found = [
        depth(3)._replace(validation_error=error, widths=(64, *[9] * (k + 1), 10))
        for k, error in enumerate(errors)
    ]
    verdict = finding(studies.DepthStudy(found, {1: 2})).verdict
    assert verdict.endswith(said)
    assert verdict.startswith(f"{1 + int(np.argmin(errors))} hidden layer")


def test_folds_say_what_the_error_is_of():
    lanes = studies.grid([8], [0.1, 0.2], seeds=1)
    folds = studies.Folds(lanes, np.ones((2, 5)), 0, 0.25, 0.02)
    assert generalization_view.folds_error(folds) == "25.00% ± 2.00% (standard error over 5 folds)"


@pytest.mark.slow
def test_a_headline_says_what_has_not_converged():
    """Of a random matrix, stopped after a few products; and of one that is done."""
    matrix = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    matrix = matrix + matrix.T
    exact = np.linalg.eigvalsh(matrix)
    found = landscape.inspect(
        lambda w: w @ (matrix @ w) / 2, np.ones(300, np.float32), top=1, lowest=1,
        on_progress=lambda part, done, of: done > 8,
    )  # fmt: skip
    assert not found.eigenpairs.converged.any()
    tiles = finding(found).tiles
    least, above = tiles["largest eigenvalue"].removeprefix("≥ ").split(", ")
    most, below = tiles["lowest eigenvalue"].removeprefix("≤ ").split(", ")
    assert above == below == "not converged"
    assert exact[0] <= float(most) < float(least) <= exact[-1]
    # a Ritz value below 0 proves a negative eigenvalue, converged or not
    assert str(found).startswith(f"not a minimum: λ_min ≤ {most}, not converged")
    assert "takes 0.34 MiB" in str(found.eigenpairs)

    done = landscape.inspect(
        lambda w: (w**2 * np.arange(1, 6)).sum(), np.ones(5, np.float32), top=2, lowest=0
    )
    tiles = finding(done).tiles
    assert tiles["largest eigenvalue"].startswith("10 ± ")
    assert "lowest eigenvalue" not in tiles  # it was not looked for
    assert str(done).startswith("λ_max = 10 ± ")


def test_an_index_says_what_is_within_the_tolerance():
    flat = landscape.analyze(lambda w: w[0] ** 2 - w[1] ** 2 + 0 * w[2], np.zeros(3), float64=True)
    assert flat.counts == (1, 1, 1)
    assert finding(flat).tiles["index"] == "1 to 2 of 3"
    assert "index 1 to 2 of 3" in str(flat).splitlines()[0]
