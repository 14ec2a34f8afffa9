"""Hessians and their spectra by PyTorch libraries, each by its own functions.

Their vectors and matrices are put into the order of our parameters, so that one and the same
product judges all. They are no extra of jaxml's, since one of them asks for torchvision, which it
does not need for this:

    pip install --no-deps curvlinops-for-pytorch backpack-for-pytorch hessian-eigenthings PyHessian
    pip install matfree einops linear_operator unfoldnd einconv
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from benchmarks import peers
from benchmarks.timing import Counted


class Found(NamedTuple):
    """What a side of a comparison came to; what it does not have is empty.

    Attributes:
        values: eigenvalues.
        vectors: their vectors, in rows.
        products: Hessian-vector products used.
        matrix: the Hessian.
    """

    values: np.ndarray = np.zeros(0)
    vectors: np.ndarray = np.zeros((0, 0))
    products: int = 0
    matrix: Any = None


@dataclasses.dataclass(frozen=True)
class Network:
    """A tanh network in PyTorch, with our parameters.

    Attributes:
        model: the network.
        x: the inputs.
        y: the labels.
        order: where each of our flattened parameters stands among PyTorch's.
    """

    model: torch.nn.Module
    x: torch.Tensor
    y: torch.Tensor
    order: np.ndarray

    @property
    def size(self) -> int:
        """How many parameters."""
        return len(self.order)

    def rows(self, vectors: torch.Tensor | np.ndarray) -> np.ndarray:
        """Vectors in the order of our parameters."""
        return np.asarray(vectors)[..., self.order]


def network(params: Any, x: np.ndarray, y: np.ndarray) -> Network:
    """The parameters of our `mlp` and the data, in PyTorch."""
    layers = [params[f"dense_{i}"] for i in range(len(params))]
    kernels, biases = ([np.array(layer[name]) for layer in layers] for name in ("kernel", "bias"))
    model = peers.mlp([len(kernels[0]), *map(len, biases)], torch.nn.Tanh)
    pairs = zip(kernels, biases, strict=True)
    ours = [torch.tensor(array) for kernel, bias in pairs for array in (kernel.T, bias)]
    with torch.no_grad():
        for theirs, values in zip(model.parameters(), ours, strict=True):
            theirs.copy_(values)
    sizes = [parameter.numel() for parameter in model.parameters()]
    places = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    order = []
    for (weight, bias), kernel in zip(
        zip(places[::2], places[1::2], strict=True), kernels, strict=True
    ):
        order += [bias, weight.reshape(kernel.T.shape).T.ravel()]
    return Network(model.to(peers.device()), *peers.tensors(x, y), np.concatenate(order))


def torch_hessian(net: Network) -> Found:
    """`torch.func.hessian`."""
    shapes = {name: value.shape for name, value in net.model.named_parameters()}
    vector = torch.cat([value.detach().reshape(-1) for value in net.model.parameters()])

    def loss(vector: torch.Tensor) -> torch.Tensor:
        pieces = torch.split(vector, [shape.numel() for shape in shapes.values()])
        tree = {n: p.reshape(s) for p, (n, s) in zip(pieces, shapes.items(), strict=True)}
        outputs = torch.func.functional_call(net.model, tree, (net.x,))
        return torch.nn.functional.cross_entropy(outputs, net.y)

    matrix = torch.func.hessian(loss)(vector).cpu().numpy()
    return Found(matrix=matrix[np.ix_(net.order, net.order)])


def _curvlinops(net: Network) -> Any:
    from curvlinops import HessianLinearOperator

    return HessianLinearOperator(
        net.model,
        torch.nn.CrossEntropyLoss(),
        list(net.model.parameters()),
        [(net.x, net.y)],
        check_deterministic=False,
    )


def curvlinops_dense(net: Network) -> Found:
    """curvlinops, times the identity."""
    matrix = _curvlinops(net) @ torch.eye(net.size, device=net.x.device)
    return Found(matrix=matrix.detach().cpu().numpy()[np.ix_(net.order, net.order)])


def curvlinops_eigsh(net: Network, tolerance: float, **options: Any) -> Found:
    """curvlinops, with scipy's restarted Lanczos."""
    whole = _curvlinops(net).to_scipy(np.float32)
    product = Counted(whole.matvec)
    counted = LinearOperator(whole.shape, product, dtype=np.float32)
    values, vectors = eigsh(counted, tol=tolerance, **options)
    return Found(values, net.rows(vectors.T), product.calls)


def curvlinops_density(net: Network, steps: int) -> Found:
    """curvlinops: no reorthogonalisation, and products of its own for the ends."""
    from curvlinops.papyan2020traces.spectrum import lanczos_approximate_spectrum

    operator = _curvlinops(net)
    product = Counted(operator._matmat)
    with mock.patch.object(operator, "_matmat", product):
        lanczos_approximate_spectrum(operator, steps)
    return Found(products=product.calls)


def _eigenthings(net: Network) -> tuple[Any, Counted]:
    import hessian_eigenthings as eigenthings

    loss = eigenthings.supervised_loss(torch.nn.functional.cross_entropy)
    operator = eigenthings.HessianOperator(net.model, [(net.x, net.y)], loss)
    operator.matvec = product = Counted(operator.matvec)
    return operator, product


def eigenthings_lanczos(net: Network, steps: int, pairs: int, which: str) -> Found:
    """hessian-eigenthings: so many steps of Lanczos, reorthogonalised up to 50 of them."""
    import hessian_eigenthings as eigenthings

    operator, product = _eigenthings(net)
    found = eigenthings.lanczos(operator, k=pairs, max_iter=steps, which=which, seed=0)
    return Found(found.eigenvalues.cpu().numpy(), net.rows(found.eigenvectors.cpu()), product.calls)


def eigenthings_density(net: Network, steps: int) -> Found:
    """hessian-eigenthings."""
    import hessian_eigenthings as eigenthings

    operator, product = _eigenthings(net)
    eigenthings.spectral_density(operator, num_runs=1, lanczos_steps=steps, seed=0)
    return Found(products=product.calls)


def _pyhessian(net: Network) -> tuple[Any, Any, Counted]:
    module = importlib.import_module("pyhessian.hessian")  # its class has the same name
    net.model.zero_grad()  # what an earlier analysis left would be added
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of create_graph
        criterion, data = torch.nn.functional.cross_entropy, (net.x, net.y)
        analysis = module.hessian(net.model, criterion, data=data, cuda=net.x.is_cuda)
    return analysis, module, Counted(module.hessian_vector_product)


def _flat(vectors: list) -> torch.Tensor:
    rows = [torch.cat([part.detach().reshape(-1) for part in vector]) for vector in vectors]
    return torch.stack(rows).cpu()


def pyhessian_power(net: Network, tolerance: float, pairs: int) -> Found:
    """PyHessian: power iterations, one eigenvalue after another, until the value rests."""
    torch.manual_seed(0)
    analysis, module, product = _pyhessian(net)
    with mock.patch.object(module, "hessian_vector_product", product):
        values, vectors = analysis.eigenvalues(maxIter=200, tol=tolerance, top_n=pairs)
    return Found(np.array(values), net.rows(_flat(vectors)), product.calls)


def pyhessian_density(net: Network, steps: int) -> Found:
    """PyHessian, with the eigenvalue routine that PyTorch took away put back."""

    def eig(matrix: torch.Tensor, eigenvectors: bool) -> tuple:  # noqa: ARG001
        values, vectors = torch.linalg.eigh(matrix)
        return values[:, None], vectors

    torch.manual_seed(0)
    analysis, module, product = _pyhessian(net)
    patched = functools.partial(mock.patch.object, create=True)
    with patched(module, "hessian_vector_product", product), patched(torch, "eig", eig):
        analysis.density(iter=steps, n_v=1)
    return Found(products=product.calls)


def products(net: Network) -> dict[str, Callable[[torch.Tensor], Any]]:
    """Each library's own product with a flat vector."""
    analysis, module, _ = _pyhessian(net)
    shapes = [parameter.shape for parameter in net.model.parameters()]

    def by_pyhessian(vector: torch.Tensor) -> Any:
        pieces = torch.split(vector, [shape.numel() for shape in shapes])
        parts = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        return module.hessian_vector_product(analysis.gradsH, analysis.params, parts)

    curvature = _curvlinops(net)
    return {
        "hessian-eigenthings": _eigenthings(net)[0].matvec,
        "PyHessian": by_pyhessian,
        "curvlinops": lambda vector: curvature @ vector,
    }
