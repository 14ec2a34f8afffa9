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


class LSTM(torch.nn.Module):
    """As `jaxml.nn.rnn(inputs, outputs, output="last", width=width)`."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(inputs, width, batch_first=True)
        self.output = torch.nn.Linear(width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the state behind the last frame."""
        return self.output(self.lstm(x)[0][:, -1])


class Transformer(torch.nn.Module):
    """As `jaxml.nn.transformer`; 0 is padding in the source."""

    def __init__(
        self, tokens: int, width: int, layers: int, heads: int, size: int, dropout: float
    ) -> None:
        super().__init__()
        self.source, self.target = (torch.nn.Embedding(tokens, width) for _ in range(2))
        self.register_buffer("positions", torch.randn(size, width))
        self.dropout = torch.nn.Dropout(dropout)
        self.network = torch.nn.Transformer(
            width, heads, layers, layers, 4 * width, dropout, batch_first=True, norm_first=True
        )
        self.output = torch.nn.Linear(width, tokens)

    def forward(self, both: torch.Tensor) -> torch.Tensor:
        """Logits `(batch, tokens, n)`, as PyTorch's cross-entropy wants them.

        Args:
            both: the source, and as many tokens before each of the target, `(batch, 2 n)`.
        """
        x, previous = both.chunk(2, dim=1)
        return self.decode(self.encode(x), x == 0, previous).transpose(1, 2)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """What the decoder looks at."""
        return self.network.encoder(
            self._placed(self.source(x)), src_key_padding_mask=self._mask(x == 0)
        )

    def decode(
        self, memory: torch.Tensor, hidden: torch.Tensor, previous: torch.Tensor
    ) -> torch.Tensor:
        """Logits `(batch, n, tokens)` of what follows each of the previous tokens."""
        causal = self.network.generate_square_subsequent_mask(
            previous.shape[1], device=previous.device
        )
        found = self.network.decoder(
            self._placed(self.target(previous)),
            memory,
            tgt_mask=causal,
            memory_key_padding_mask=self._mask(hidden),
            tgt_is_causal=True,
        )
        return self.output(found)

    def _placed(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(x * x.shape[-1] ** 0.5 + self.positions[: x.shape[1]])

    def _mask(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.zeros(hidden.shape, device=hidden.device).masked_fill(hidden, -torch.inf)


def decoding(model: Transformer, x: np.ndarray, begin: int, steps: int) -> Callable[[], float]:
    """A function that takes the likeliest token `steps` times and returns the seconds.

    The prefix is run through the decoder whole at each step: `torch.nn.TransformerDecoder` keeps
    no keys and values.
    """
    model = model.to(device()).eval()
    source = torch.tensor(x, device=device())

    def run() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            memory, hidden = model.encode(source), source == 0
            found = torch.full((len(source), 1), begin, device=source.device)
            for _ in range(steps):
                logits = model.decode(memory, hidden, found)[:, -1]
                found = torch.cat([found, logits.argmax(-1, keepdim=True)], 1)
        if source.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return run


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
    loss: Callable[..., torch.Tensor] = torch.nn.functional.cross_entropy,
) -> Callable[[], float]:
    """A function that takes `steps` steps over shuffled batches and returns their seconds."""
    inputs, labels = tensors(x, y)
    model = make().to(device())
    stepper = optimizer(model.parameters())

    def of_batch(batch: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return loss(model(batch), targets)

    forward = torch.compile(of_batch) if compiled else of_batch

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
