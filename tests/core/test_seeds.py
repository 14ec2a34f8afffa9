"""Seeds keep all their bits, and those below 2³² the streams of `jax.random.key`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import landscape, nn, studies
from jaxml.cli import main
from jaxml.core import seeds
from jaxml.training import losses

LARGE = [2**32, 2**40, 2**40 + 1, 2**63, 2**64 - 1]
X = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
DATA = {"x": X, "y": X[:, :1]}


def data_of(key):
    return np.asarray(jax.random.key_data(key)).tolist()


@pytest.mark.parametrize("seed", [0, 7, 2**31, 2**32 - 1, np.int64(7), np.uint32(2**31)])
def test_small_seeds_are_jaxs(seed):
    assert data_of(seeds.key(seed)) == data_of(jax.random.key(int(seed)))


def test_large_seeds_differ_and_are_the_same_traced():
    known = [data_of(seeds.key(seed)) for seed in (0, 1, *LARGE)]
    assert len({tuple(data) for data in known}) == len(known)
    words = np.stack([seeds.words(seed) for seed in (0, 1, *LARGE)])
    assert data_of(jax.jit(jax.vmap(seeds.key))(words)) == known
    with jax.enable_x64(True):
        assert [data_of(seeds.key(seed)) for seed in (0, 1, *LARGE)] == known


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "1", None])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ValueError, match=r"a seed that is a whole number of at least 0.*got"):
        seeds.key(seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw",
    [
        lambda o, seed: landscape.trace(o, method="hutchinson", max_products=2, seed=seed).value,
        lambda o, seed: landscape.diagonal(o, max_products=2, seed=seed).value,
        lambda o, seed: landscape.trace(o, method="xtrace", max_products=4, seed=seed).value,
        lambda o, seed: landscape.spectral_density(o, steps=2, probes=1, seed=seed).nodes,
        lambda o, seed: landscape.eigenpairs(o, top=1, max_products=2, seed=seed).values,
    ],
)
def test_the_landscape_draws_by_the_whole_seed(draw):
    w = jnp.linspace(1, 2, 6)
    operator = landscape.hessian(lambda w: (w**4).sum() + (w[0] * w[1] * w[2]) ** 2, w)
    zero, large, again = (np.asarray(draw(operator, seed)) for seed in (0, 2**40, 2**40))
    assert (zero != large).any()
    assert (large == again).all()
    with pytest.raises(ValueError, match="at least 0"):
        draw(operator, -1)


@pytest.mark.slow
def test_a_study_trains_by_the_whole_seed():
    task = studies.task(nn.linear(2, 1), losses.mse)

    def params(own):
        lanes = studies.grid([4], [0.1], optimizers=["sgd"], seeds=own)
        study = studies.batch_size(
            task, DATA, lanes, splits={"train": DATA}, steps=2, keep_params=True
        )
        return study.params

    found = params([0, 2**32, 2**40])
    assert len(np.unique(found, axis=0)) == 3
    np.testing.assert_allclose(found[0], params([0, 1, 2])[0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"every seed at least 0 and below 2\*\*63"):
        params([2**63])


def test_the_command_line_trains_by_the_whole_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = "train linear --data two_spirals --steps 1 --seed"

    def digest(seed):
        assert main([*train.split(), str(seed)]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert digest(0) != digest(2**40)
    assert main([*train.split(), "-1"]) == 2
    assert "at least 0" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob("runs/*")) == ["train-1", "train-2"]
