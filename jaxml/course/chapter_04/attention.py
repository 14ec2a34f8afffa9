"""What self-attention can be, and what it costs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import nn
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort


def is_convolution(effort: Effort = "quick") -> Finding:
    """Nine heads that look at one pixel each, and a 3 by 3 convolution."""
    side = 8 if effort == "quick" else 16
    sharpnesses = np.arange(2.0, 47.0, 4.0)
    off, bare = [], []
    with jax.enable_x64(True):
        images = jax.random.normal(key(0), (1, side, side, 3), float)
        kernel = jax.random.normal(jax.random.fold_in(key(0), 1), (3, 3, 3, 4), float)
        known = nn.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        for ring, found in ((True, off), (False, bare)):
            by_attention = jax.jit(
                functools.partial(nn.attention.convolution_by_attention, ring=ring)
            )
            for sharpness in sharpnesses:
                made = by_attention(images, kernel, sharpness=sharpness)
                found.append(float(abs(made - known).max()))
    slope = float(np.polyfit(sharpnesses[:6], np.log(off[:6]), 1)[0])
    holds = off[-1] < 1e-12 and bare[-1] > 0.1 and abs(slope + 1) < 0.1
    figure = pictures.curves(
        {
            "zeros around the image": (sharpnesses, off),
            "the image alone": (sharpnesses, bare),
        },
        "Largest difference from the convolution against α: with zeros around the image it falls "
        "exponentially, without them it stays where it is.",
        style="o-", xlabel="α of the scores −α|δ − Δ|²", ylabel="largest difference", yscale="log",
    )  # fmt: skip
    return Finding(
        name="attention-is-convolution",
        question="Is a convolution a case of self-attention?",
        verdict=f"Nine heads with scores −α|δ − Δ|² differ from a 3 by 3 convolution by "
        f"{off[0]:.1g} at α = {sharpnesses[0]:g} and {off[-1]:.1g} at α = {sharpnesses[-1]:g}; "
        f"without zeros around the image it stays at {bare[-1]:.2g}.",
        sections=[Section("Heads that look at one pixel", figures=[figure])],
        numbers={
            "sharpness": sharpnesses.tolist(), "difference": off, "without_zeros": bare,
            "slope": slope,
        },
        expected="the difference falls as e^−α to 1e-12, if zeros stand around the image as keys; "
        "without them the border differs",
        holds=bool(holds),
    )  # fmt: skip


def memory(effort: Effort = "quick") -> Finding:
    """The temporaries of the gradient, as XLA plans them, for ever longer sequences."""
    sizes = [256, 512, 1024] if effort == "quick" else [512, 1024, 2048, 4096]
    kinds = {
        "softmax": nn.attention.softmax_attention,
        "local, window 65": functools.partial(nn.attention.local_attention, window=65),
        "linear": nn.attention.linear_attention,
    }

    def mebibytes(attend, size):
        x = jax.ShapeDtypeStruct((4, size, 16), jnp.float32)
        gradient = jax.jit(jax.grad(lambda q, k, v: attend(q, k, v).sum(), (0, 1, 2)))
        planned = gradient.lower(x, x, x).compile().memory_analysis()
        assert planned is not None  # XLA's compilers for CPU, GPU and TPU all have one
        return planned.temp_size_in_bytes / 2**20

    found = {name: [mebibytes(attend, n) for n in sizes] for name, attend in kinds.items()}
    growth = {name: values[-1] / values[-2] for name, values in found.items()}
    holds = abs(growth["softmax"] - 4) < 0.4 and all(
        abs(growth[name] - 2) < 0.2 for name in kinds if name != "softmax"
    )
    figure = pictures.curves(
        {name: (sizes, values) for name, values in found.items()},
        "Memory against the number of positions, both logarithmic: that of softmax attention rises "
        "twice as steeply as those of the two others.",
        style="o-", xlabel="positions n", ylabel="temporaries, MiB", xscale="log", yscale="log",
    )  # fmt: skip
    rows = [
        (name, *(f"{value:.1f}" for value in values), f"{growth[name]:.2f}")
        for name, values in found.items()
    ]
    table = Table(("MiB", *(f"n = {n:,}" for n in sizes), "last doubling"), rows)
    return Finding(
        name="attention-memory",
        question="What does it cost that every position looks at every other?",
        verdict=f"The gradient with four heads of 16 columns holds "
        f"{found['softmax'][-1]:,.0f} MiB at {sizes[-1]:,} positions, "
        f"{growth['softmax']:.1f} times as much as at half of them; local attention "
        f"{found['local, window 65'][-1]:.1f} MiB and linear attention {found['linear'][-1]:.1f}, "
        f"{growth['local, window 65']:.1f} and {growth['linear']:.1f} times as much.",
        sections=[Section("Temporaries of the gradient", figures=[figure], table=table)],
        numbers={"positions": sizes, "mebibytes": found, "growth": growth},
        expected="twice the positions take four times the memory with softmax attention and twice "
        "with the others",
        holds=bool(holds),
    )
