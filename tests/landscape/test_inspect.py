"""One point looked at part by part: every part, interrupted anywhere, gone on with."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import classifier_data, float32, tanh_classifier, tanh_classifier_params

from jaxml import landscape, report
from jaxml.core.result import types_in
from jaxml.core.serialization import from_npz, to_npz

EVERYTHING = {
    "parts": ["eigenpairs", "index", "sharpness", "density", "layers", "surface"],
    "top": 2,
    "lowest": 1,
    "points": 5,
    "probes": 2,
    "steps": 10,
}


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x, y = classifier_data(rng, 20, 4, 3)
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y)
    params = float32(tanh_classifier_params(rng, 4, 3, 3))
    return jax.tree_util.Partial(tanh_classifier, x=x, y=y, l2=jnp.float32(0.01)), params


@pytest.fixture(scope="module")
def whole(problem):
    return landscape.inspect(*problem, **EVERYTHING)


@pytest.mark.slow
def test_every_part_against_the_dense_matrix(problem, whole):
    loss, params = problem
    dense = landscape.hessian(loss, params).dense()
    values = np.linalg.eigvalsh(dense)
    np.testing.assert_allclose(whole.eigenpairs.values, values[[0, -2, -1]], atol=1e-5)
    assert whole.index.negative.low == whole.index.negative.high == (values < -1e-5).sum()
    assert whole.sharpness.largest_eigenvalue == pytest.approx(values[-1], rel=1e-5)
    assert whole.density.average(lambda v: v).value == pytest.approx(values.mean(), rel=0.5)
    assert [layer.size for layer in whole.layers] == [12, 3, 9, 3]
    out = whole.layers[2]
    assert out.name == "out"
    block = np.linalg.eigvalsh(dense[15:24, 15:24])
    np.testing.assert_allclose(out.eigenpairs.values, block[[0, -1]], atol=1e-3 * values[-1])
    assert whole.surface.finished
    assert whole.surface.losses[2, 2] == pytest.approx(whole.loss, rel=1e-6)
    assert list(whole.seconds) == EVERYTHING["parts"]


def same(a, b):
    """Equal but for the times."""
    np.testing.assert_array_equal(a.density.nodes, b.density.nodes)
    np.testing.assert_array_equal(a.surface.losses, b.surface.losses)
    assert [x.eigenpairs.values.tolist() for x in a.layers] == [
        x.eigenpairs.values.tolist() for x in b.layers
    ]
    np.testing.assert_allclose(a.eigenpairs.values, b.eigenpairs.values, atol=1e-5)
    assert a.sharpness == b.sharpness


def test_stopped_between_parts_and_gone_on_with(problem, whole):
    seen = []
    for _ in range(10):
        so_far = seen[-1] if seen else None
        seen.append(
            landscape.inspect(
                *problem, **EVERYTHING, done=so_far, on_part=lambda part, so_far: True
            )
        )
        if "surface" in seen[-1].seconds:
            break
    assert [len(s.seconds) for s in seen] == [1, 2, 3, 4, 5, 6]
    same(seen[-1], whole)


@pytest.mark.parametrize("part", ["layers", "surface"])
def test_stopped_within_a_part(problem, whole, part):
    stopped = landscape.inspect(*problem, **EVERYTHING, on_progress=lambda p, n, of: p == part)
    assert part not in stopped.seconds
    if part == "layers":
        assert len(stopped.layers) == 1
    else:
        assert 0 < stopped.surface.done.sum() < 25
    same(landscape.inspect(*problem, **EVERYTHING, done=stopped), whole)


def test_planes_along_eigenvectors_and_of_a_path(problem, tmp_path):
    loss, params = problem
    along = landscape.inspect(
        loss, params, ["eigenpairs", "surface"], top=2, lowest=0, plane="eigenvectors", points=3
    )
    assert along.surface.losses[1, 1] == pytest.approx(along.loss, rel=1e-6)
    path = jax.tree.map(lambda a: np.stack([a + 0.1 * k * (1 + k * a) for k in range(4)]), params)
    seen = landscape.inspect(loss, params, ["surface"], plane="trajectory", path=path, points=5)
    assert seen.trajectory.explained_variance_ratio.sum() > 0.9
    assert seen.eigenpairs is None
    for result in (along, seen):
        page = report.write(result, tmp_path / "page.html").read_text()
        assert "The loss on a plane" in page or "Is the picture right?" in page
        assert report.record(result)["surface"]["kind"] == result.surface_kind


def test_the_page_and_the_record_hold_every_part(whole, tmp_path):
    page = report.write(whole, tmp_path / "page.html").read_text()
    for title in ("Index", "Extreme eigenvalues", "All eigenvalues", "Sharpness", "Layer by"):
        assert title in page
    record = report.record(whole)
    assert record["eigenpairs"]["values"] == whole.eigenpairs.values.tolist()
    assert "vectors" not in record["eigenpairs"]
    assert record["index"]["negative"] is not None


def test_parts_in_the_caller_s_order(problem, tmp_path):
    """The page has them so; a part that cannot be says why, and ends nothing."""
    seen = []
    found = landscape.inspect(
        *problem,
        ["layers", "eigenpairs", "density"],
        top=0,
        lowest=0,
        probes=1,
        steps=4,
        on_part=lambda part, so_far: seen.append(part),
    )
    assert seen == ["layers", "eigenpairs", "density"]
    assert list(found.seconds) == ["layers", "density"]
    assert found.eigenpairs is None
    assert found.left_out == {"eigenpairs": "neither the largest nor the lowest were asked for"}
    page = report.write(found, tmp_path / "page.html").read_text()
    assert page.index("Layer by layer") < page.index("All eigenvalues")
    assert "Left out: eigenpairs, neither the largest" in page


def test_keywords_of_earlier_versions(problem):
    with pytest.warns(DeprecationWarning, match=r"parts=\['eigenpairs', 'index', 'surface'\]"):
        found = landscape.inspect(
            *problem, top=1, lowest=0, index=True, plane="random", on_part=lambda *_: True
        )
    assert list(found.seconds) == ["eigenpairs"]
    with pytest.warns(DeprecationWarning, match=r"parts=\['index'\]"):
        assert landscape.inspect(*problem, top=0, lowest=0, index=True).eigenpairs is None
    flags = {"measure_sharpness": True, "density": True, "layers": True}
    message = r"parts=\['eigenpairs', 'sharpness', 'density', 'layers'\]"
    with pytest.warns(DeprecationWarning, match=message):
        landscape.inspect(*problem, top=1, lowest=0, on_part=lambda *_: True, **flags)


def test_files_of_earlier_versions(whole):
    """In 0.1 eigenpairs were called ends."""
    content = to_npz(whole)
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    text = str(arrays["structure"])
    former = text.replace('"LayerEigenpairs"', '"LayerEnds"').replace('"eigenpairs"', '"ends"')
    assert former.count('"ends"') == text.count('"eigenpairs"') > 5
    arrays["structure"] = np.array(former)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    read = from_npz(buffer.getvalue(), types_in(landscape.Inspection))
    np.testing.assert_array_equal(read.eigenpairs.vectors, whole.eigenpairs.vectors)
    assert [layer.name for layer in read.layers] == [layer.name for layer in whole.layers]
    assert list(read.seconds) == list(whole.seconds)


@pytest.mark.slow
def test_a_series_begins_each_search_with_the_one_before(problem):
    loss, params = problem
    moved = [jax.tree.map(lambda a, t=t: a * (1 + t), params) for t in (0.0, 0.001, 0.002)]
    points = [(10 * k, lambda p=p: (loss, p)) for k, p in enumerate(moved)]
    lengths = []
    series = landscape.inspect_series(points, on_step=lambda so_far: lengths.append(len(so_far)))
    assert [at.step for at in series] == [0, 10, 20]
    assert lengths == [1, 2, 3]
    rest = landscape.inspect_series(points, done=series[:1])
    np.testing.assert_allclose(rest[-1].eigenpairs.values, series[-1].eigenpairs.values, atol=1e-5)
    assert series[-1].loss == pytest.approx(float(loss(moved[-1])))


def test_bad_input(problem):
    loss, params = problem
    with pytest.raises(ValueError, match="plane"):
        landscape.inspect(loss, params, ["surface"], plane="sideways")
    with pytest.raises(ValueError, match="`path`"):
        landscape.inspect(loss, params, ["surface"], plane="trajectory")
    with pytest.raises(ValueError, match="two eigenpairs"):
        landscape.inspect(
            loss, params, ["eigenpairs", "surface"], top=1, lowest=0, plane="eigenvectors"
        )
    with pytest.raises(ValueError, match="two eigenpairs before a plane"):
        landscape.inspect(loss, params, ["surface", "eigenpairs"], plane="eigenvectors")
    with pytest.raises(ValueError, match=r"got 'sharpnes' .did you mean 'sharpness'"):
        landscape.inspect(loss, params, ["sharpnes"])
    with pytest.raises(ValueError, match="a list of parts, got 'index'"):
        landscape.inspect(loss, params, "index")
    with pytest.raises(ValueError, match="parts without repetitions"):
        landscape.inspect(loss, params, ["index", "index"])
    with pytest.raises(ValueError, match="extent"):
        landscape.inspect(loss, params, extent=0.0)
