"""The same networks, data and optimiser in PyTorch."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch


def mlp(
    widths: Sequence[int], activation: Callable[[], torch.nn.Module] = torch.nn.ReLU
) -> torch.nn.Module:
    """As `jaxml.nn.mlp(widths)`."""
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [torch.nn.Linear(inputs, outputs), activation()]
    return torch.nn.Sequential(torch.nn.Flatten(), *layers[:-1])


def cnn() -> torch.nn.Module:
    """As `jaxml.nn.cnn((28, 28, 1), 10)`."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(32, 64, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(64 * 7 * 7, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 10),
    )


def device() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def tensors(x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Images `(N, height, width, channels)` with channels first, other inputs as they are."""
    inputs = torch.tensor(x)
    if inputs.ndim == 4:
        inputs = inputs.permute(0, 3, 1, 2).contiguous()
    return inputs.to(device()), torch.tensor(y, dtype=torch.long).to(device())


def training(
    make: Callable[[], torch.nn.Module],
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    steps: int,
    compiled: bool = False,
    optimizer: Callable[..., torch.optim.Optimizer] = lambda params: torch.optim.Adam(params, 1e-3),
) -> Callable[[], float]:
    """A function that takes `steps` steps over shuffled batches and returns their seconds."""
    inputs, labels = tensors(x, y)
    model = make().to(device())
    stepper = optimizer(model.parameters())

    def loss(batch: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(batch), targets)

    forward = torch.compile(loss) if compiled else loss

    def run() -> float:
        start = time.perf_counter()
        order = torch.randperm(len(inputs), device=inputs.device)
        per_epoch = len(inputs) // batch_size
        for step in range(steps):
            first = (step % per_epoch) * batch_size
            index = order[first : first + batch_size]
            stepper.zero_grad(set_to_none=True)
            forward(inputs[index], labels[index]).backward()
            stepper.step()
        if inputs.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return run
