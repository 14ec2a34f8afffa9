import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxml import nn, training
from jaxml.training import augmentation, losses, optimizers, sampling

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(jax.random.key(1), (40, 7, 6, 2), minval=0.1)
LABELS = jnp.arange(40) % 4
BATCH = {"x": IMAGES, "y": LABELS}


def transformed(transform, batch=BATCH):
    return {name: np.asarray(value) for name, value in jax.jit(transform)(batch, KEY).items()}


def test_shift_moves_whole_pixels_and_fills_with_zeros():
    new = transformed(augmentation.shift(2))["x"]
    seen = set()
    for image, moved in zip(np.asarray(IMAGES), new, strict=True):
        wide = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        at = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(wide[i : i + 7, j : j + 6], moved)
        ]
        assert len(at) == 1
        seen.add(at[0])
    assert len(seen) > 12


def test_flip_mirrors_half_of_the_images():
    new = transformed(augmentation.flip())["x"]
    mirrored = np.array([np.array_equal(a[:, ::-1], b) for a, b in zip(IMAGES, new, strict=True)])
    same = np.array([np.array_equal(a, b) for a, b in zip(IMAGES, new, strict=True)])
    assert (mirrored ^ same).all()
    assert 10 <= mirrored.sum() <= 30


def test_rotation_equals_scipys_for_one_angle():
    # an angle of any size is found by comparing with scipy's on a grid
    image = np.asarray(jax.random.uniform(KEY, (1, 9, 9, 1)))
    new = transformed(augmentation.rotation(30), {"x": image})["x"][0, :, :, 0]
    angles = np.linspace(-30, 30, 2401)
    turned = np.stack(
        [
            scipy.ndimage.rotate(
                image[0, :, :, 0], angle, reshape=False, order=1, mode="grid-constant"
            )
            for angle in angles
        ]
    )
    inside = np.hypot(*np.mgrid[-4:5, -4:5]) <= 4  # scipy treats the edge otherwise
    errors = np.abs(turned - new)[:, inside].max(1)
    assert errors.min() < 2e-3
    assert np.median(errors) > 0.1


def test_scale_equals_scipys_for_one_factor():
    image = np.asarray(jax.random.uniform(KEY, (1, 9, 9, 1)))
    new = transformed(augmentation.scale(1.5), {"x": image})["x"][0, :, :, 0]
    factors = np.exp(np.linspace(-np.log(1.5), np.log(1.5), 2401))
    padded = np.pad(image[0, :, :, 0], 4)  # where zeros come in
    scaled = np.stack(
        [
            scipy.ndimage.affine_transform(
                padded, np.eye(2) / f, offset=8 - 4 / f, output_shape=(9, 9), order=1
            )
            for f in factors
        ]
    )
    errors = np.abs(scaled - new).max((1, 2))
    assert errors.min() < 2e-3
    assert np.median(errors) > 0.1


def test_noise_has_its_deviation():
    rows = {"x": jnp.full((200, 50), 3.0), "y": jnp.zeros(200)}
    added = transformed(augmentation.noise(0.5), rows)["x"] - 3
    assert added.mean() == pytest.approx(0, abs=5 * 0.5 / 100)
    assert added.std() == pytest.approx(0.5, rel=5 / np.sqrt(2 * added.size))
    with pytest.raises(ValueError, match="deviation above 0, got -1"):
        augmentation.noise(-1)


def test_boards_turn_with_their_points():
    boards = np.asarray(jax.random.uniform(KEY, (40, 5, 5, 2)))
    points = np.arange(40) % 25
    new = transformed(augmentation.board_symmetry(), {"x": boards, "y": points})
    seen = set()
    for board, moved, before, after in zip(boards, new["x"], points, new["y"], strict=True):
        ways = [np.rot90(b, k) for k in range(4) for b in (board, board[:, ::-1])]
        (way,) = [i for i, turned in enumerate(ways) if np.array_equal(turned, moved)]
        seen.add(way)
        # the value at the point goes where the point goes
        np.testing.assert_array_equal(moved.reshape(25, 2)[after], board.reshape(25, 2)[before])
    assert len(seen) == 8
    with pytest.raises(ValueError, match=r"boards \(batch, size, size, channels\), got .*7, 6, 2"):
        augmentation.board_symmetry()(BATCH, KEY)


def test_cutout_zeroes_one_square():
    new = transformed(augmentation.cutout(3))["x"]
    for image, cut in zip(np.asarray(IMAGES), new, strict=True):
        rows, columns = np.nonzero((cut == 0).all(-1))
        assert 4 <= len(rows) <= 9
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        keep = cut != 0
        np.testing.assert_array_equal(cut[keep], image[keep])


@pytest.mark.slow
def test_mixup_mixes_images_and_labels_by_the_same_weight():
    new = transformed(augmentation.mixup(0.4, 4))
    np.testing.assert_allclose(new["y"].sum(-1), 1, rtol=1e-6)
    one_hot = np.eye(4)[LABELS]
    # the image is w a + (1 - w) b: the same w and the same b must explain the label
    weights = [row[label] for row, label in zip(new["y"], LABELS, strict=True) if row.max() < 1]
    weight = float(np.median(weights))
    assert 0 < weight < 1
    for i in range(len(IMAGES)):
        candidates = weight * np.asarray(IMAGES[i]) + (1 - weight) * np.asarray(IMAGES)
        errors = np.abs(candidates - new["x"][i]).reshape(len(IMAGES), -1).max(1)
        partner = int(errors.argmin())
        assert errors[partner] < 1e-5
        expected = weight * one_hot[i] + (1 - weight) * one_hot[partner]
        np.testing.assert_allclose(new["y"][i], expected, atol=1e-6)


@pytest.mark.slow
def test_augmented_keeps_the_order_of_batches_and_draws_anew_each_step():
    plain = sampling.epochs(8)
    sample = jax.jit(augmentation.augmented(plain, augmentation.shift(2), augmentation.flip()))
    batches = [sample(BATCH, KEY, step) for step in (0, 0, 5)]
    np.testing.assert_array_equal(batches[0]["y"], plain(BATCH, KEY, 0)["y"])
    np.testing.assert_array_equal(batches[0]["x"], batches[1]["x"])
    # step 5 begins the second epoch: other images, and other shifts of the same ones
    same = sampling.full()
    first, second = (
        augmentation.augmented(same, augmentation.shift(2))(BATCH, KEY, step)["x"]
        for step in (0, 1)
    )
    assert not np.array_equal(first, second)
    none = augmentation.augmented(plain)(BATCH, KEY, 3)
    np.testing.assert_array_equal(none["x"], plain(BATCH, KEY, 3)["x"])


@pytest.mark.slow
def test_training_on_mixed_labels_inside_the_compiled_step():
    sample = augmentation.augmented(
        sampling.epochs(8), augmentation.cutout(2), augmentation.mixup(1.0, 4)
    )
    model = nn.cnn((7, 6, 2), 4, channels=(2,), hidden=())
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(1e-2))
    runs = [
        training.fit(algorithm, BATCH, sample, key=KEY, steps=6, chunk=chunk) for chunk in (6, 3)
    ]
    np.testing.assert_array_equal(runs[0].history["loss"], runs[1].history["loss"])


def test_the_same_arguments_give_the_same_function():
    make = [
        lambda: augmentation.augmented(sampling.epochs(8), augmentation.shift(2)),
        lambda: augmentation.mixup(0.2, 10),
    ]
    assert all(f() is f() for f in make)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augmentation.shift(0), "pixels"),
        (lambda: augmentation.rotation(180.5), r"degrees in \(0, 180\]"),
        (lambda: augmentation.rotation(0), r"degrees in \(0, 180\]"),
        (lambda: augmentation.cutout(2.5), "size"),
        (lambda: augmentation.mixup(0, 10), "alpha"),
        (lambda: augmentation.mixup(0.2, 0), "classes"),
        (lambda: augmentation.augmented(None), "a sampler"),
        (lambda: augmentation.augmented(sampling.full(), "flip"), "transforms"),
        (lambda: augmentation.flip()({"x": jnp.ones((4, 8))}, KEY), "images"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
