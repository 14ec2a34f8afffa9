"""The exact Hessian and its products, against `jax.hessian`, PyTorch and the gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax.flatten_util import ravel_pytree

from benchmarks import peers
from benchmarks.tables import Row, compare
from benchmarks.timing import contestant, timed
from jaxml import data, landscape, nn, training
from jaxml.training import losses, optimizers


def _problem(model: nn.Model, split: Any) -> tuple[Any, Any]:
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.sgd(0.1))
    state = algorithm.init(jax.random.key(0))
    return training.full_loss(algorithm, state, split), state.params


def exact_hessian(rounds: int) -> Iterator[Row]:
    """The dense Hessian of an mlp on the digits."""
    train = data.load("digits").train
    loss, params = _problem(nn.mlp([64, 32, 10]), train)
    flat, unravel = ravel_pytree(params)
    ours = landscape.hessian(loss, params)
    whole = jax.jit(lambda loss, v: jax.hessian(lambda v: loss(unravel(v)))(v))

    model = peers.mlp([64, 32, 10]).to(peers.device())
    x, y = peers.tensors(train["x"], train["y"])
    shapes = {name: value.shape for name, value in model.named_parameters()}
    vector = torch.cat([value.detach().reshape(-1) for value in model.parameters()])

    def torch_loss(vector: torch.Tensor) -> torch.Tensor:
        pieces = torch.split(vector, [shape.numel() for shape in shapes.values()])
        tree = {n: p.reshape(s) for p, (n, s) in zip(pieces, shapes.items(), strict=True)}
        outputs = torch.func.functional_call(model, tree, (x,))
        return torch.nn.functional.cross_entropy(outputs, y)

    def by_torch() -> None:
        torch.func.hessian(torch_loss)(vector)
        if x.is_cuda:
            torch.cuda.synchronize()

    yield compare(
        f"exact Hessian, mlp of {flat.size:,} parameters on {len(train['y']):,} digits",
        {
            "jaxml": contestant(timed(ours.dense)),
            "jax.hessian": contestant(timed(lambda: whole(loss, flat))),
            "torch.func.hessian": lambda: contestant(timed(by_torch)),
        },
        rounds=rounds,
    )


def hessian_vector_product(rounds: int) -> Iterator[Row]:
    """One product with the Hessian over one gradient, of an mlp and a cnn."""
    fashion = data.load("fashion_mnist").train
    split = {name: values[:2000] for name, values in fashion.items()}
    flat = {**split, "x": split["x"].reshape(2000, -1)}
    cases = {
        "mlp": (nn.mlp([784, 128, 10]), flat),
        "cnn": (nn.cnn((28, 28, 1), 10), {k: v[:256] for k, v in split.items()}),
    }
    for name, (model, examples) in cases.items():
        yield _product_over_gradient(name, *_problem(model, examples), rounds)


def _product_over_gradient(name: str, loss: Any, params: Any, rounds: int) -> Row:
    operator = landscape.hessian(loss, params)
    vector = jnp.ones(operator.size) / operator.size**0.5
    gradient = jax.jit(lambda loss, params: ravel_pytree(jax.grad(loss)(params))[0])
    return compare(
        f"{name} of {operator.size:,} parameters: Hessian-vector products against gradients",
        {
            "jaxml": contestant(timed(lambda: operator.matvec(vector))),
            "gradient": contestant(timed(lambda: gradient(loss, params))),
        },
        rounds=rounds,
        expected=0.5,
    )


def reading(rounds: int) -> Iterator[Row]:
    """What it costs to trace a loss anew at every public call, against one gradient of it."""
    train = data.load("digits").train
    for widths in ([64, 32, 10], [64, 512, 512, 10]):
        loss, params = _problem(nn.mlp(widths, activation="tanh"), train)
        gradient = jax.jit(lambda loss, params: jax.grad(loss)(params))
        for name, written in {"over data": loss, "a closure": lambda p, loss=loss: loss(p)}.items():
            yield compare(
                f"{landscape.hessian(loss, params).size:,} parameters: reading a loss, {name}",
                {
                    "jaxml": contestant(
                        timed(
                            lambda written=written, params=params: (
                                landscape.hessian(written, params) and None
                            )
                        )
                    ),
                    "gradient": contestant(
                        timed(lambda loss=loss, params=params, f=gradient: f(loss, params))
                    ),
                },
                rounds=rounds,
            )
