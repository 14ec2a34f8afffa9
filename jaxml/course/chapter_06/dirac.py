"""The smallest GAN: one number against one number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import generative, landscape
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort

STEP = 0.05
SIGMA, GAMMA = 1.0, 1.0


def dirac_gan(effort: Effort = "quick") -> Finding:
    """Eigenvalues at the equilibrium against their closed forms, and where training goes."""
    steps = 400 if effort == "quick" else 4000
    zero = [np.float64(0), np.float64(0)]
    rows, errors, kinds, right = [], [], {}, True
    games = _games()
    for name, losses, expected, formula in games:
        found = landscape.game_spectrum(losses, zero)
        order = np.lexsort((-np.imag(expected), -np.real(expected)))
        error = float(abs(found.eigenvalues - np.asarray(expected)[order]).max())
        errors.append(error)
        right &= error < (1e-5 if formula == _DOUBLE else 1e-12)
        kinds[name] = found.kind
        values = ", ".join(_shown(value) for value in found.eigenvalues)
        step = f"{found.stable_step:.3g}" if found.stable_step else "none"
        rows.append([name, formula, values, f"{error:.0e}", found.kind, step])

    minimax = next(losses for name, losses, *_ in games if name == "minimax")
    radii = {
        (h, turns): landscape.update_jacobian(minimax, zero, h, alternating=turns).radius
        for h in (0.1, 1.0, 3.9)
        for turns in (False, True)
    }
    closed = {(h, a): 1.0 if a else abs(1 + 0.5j * h) for h, a in radii}
    off = max(abs(radii[place] - closed[place]) for place in radii)
    paths = {name: _path(losses, steps) for name, losses in _trained().items()}
    distances = {name: np.hypot(*path.T) for name, path in paths.items()}
    holds = right and off < 1e-12
    holds = holds and kinds["minimax"] == "rotating" and kinds["minimax, R1"] == "attracting"
    ends = ", ".join(f"{name} {d[-1]:.2g}" for name, d in distances.items())
    return Finding(
        name="dirac-gan",
        question="Do the two networks of a GAN come to rest?",
        verdict=f"At the equilibrium the game is {kinds['minimax']} without a penalty and "
        f"{kinds['minimax, R1']} with one on the critic's slope: all {len(rows)} pairs of "
        f"eigenvalues equal their closed forms within {max(errors):.0e}. After {steps:,} "
        f"alternating steps from a distance of 1.41 the distances are {ends}.",
        text=[
            "The generator draws the number θ, the data are the number 0, the critic's output at x "
            "is ψx. An eigenvalue's real part says how fast a small distance grows, its imaginary "
            "part how fast it turns. Steps of both players at once have the spectral radius "
            f"|1 + ih/2|, which is above 1 for every step h ({radii[1.0, False]:.3f} at 1); "
            f"alternating ones have exactly 1 up to h = 4 ({radii[3.9, True]:.6f} at 3.9).",
        ],
        sections=[
            Section(
                "Eigenvalues at the equilibrium",
                table=Table(
                    ["game", "closed form", "computed", "off by", "kind", "steps below"], rows
                ),
            ),
            Section(
                "Alternating steps of 0.05",
                figures=[
                    pictures.curves(
                        {name: tuple(path.T) for name, path in paths.items()},
                        "Paths of the generator's and the critic's number: a circle without a "
                        "penalty, a spiral into the middle with R1.",
                        xlabel="generator θ", ylabel="critic ψ", ylim=(-1.7, 3),
                    ),
                    pictures.curves(
                        {name: np.maximum(d, 1e-16) for name, d in distances.items()},
                        "The distance from the equilibrium by steps: it falls to rounding with R1 "
                        "alone.",
                        xlabel="step", ylabel="distance", yscale="log",
                    ),
                ],
            ),
        ],
        numbers={
            "kinds": kinds,
            "worst_error": max(errors),
            "radii": {f"{h:g}{' alternating' * a}": r for (h, a), r in radii.items()},
            "distance": {name: float(d[-1]) for name, d in distances.items()},
        },
        expected="eigenvalues and spectral radii as in closed form to 1e-12 (a double one of one "
        "eigenvector to 1e-5), rotating without a penalty and attracting with R1",
        holds=bool(holds),
    )  # fmt: skip


_DOUBLE = "−γ/2 twice"


def _critic(params: Any, x: Any) -> Any:
    return params * x


def _losses(game: str, penalty: Callable[..., Any] | None = None) -> list[Callable]:
    """The generator's and the critic's, of the numbers θ and ψ."""
    rules = generative.GAMES[game]

    def of_critic(theta, psi):
        loss = rules.discriminator(_critic(psi, 0.0), _critic(psi, theta))
        return loss if penalty is None else loss + penalty(theta, psi)

    return [lambda theta, psi: rules.generator(_critic(psi, theta)), of_critic]


def _penalty(penalty: generative.Penalty) -> Callable[..., Any]:
    """One of `generative`, at the one example and the one sample that there are."""

    def of_numbers(theta, psi):
        real, fake = jnp.zeros(1, theta.dtype), theta[None]
        return penalty(_critic, psi, real, fake, key(0))

    return of_numbers


def _noisy(sigma: float) -> list[Callable]:
    """Minimax where noise is added to data and samples, in expectation (Gauss–Hermite)."""
    x, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = weights / weights.sum()

    def share(theta, psi):
        on = [weights * jax.nn.softplus(sign * psi * (at + sigma * x))
              for sign, at in ((-1, 0.0), (1, theta))]  # fmt: skip
        return (on[0] + on[1]).sum()

    return [lambda theta, psi: -share(theta, psi), share]


def _games() -> list[tuple[str, list[Callable], list[complex], str]]:
    """Name, losses, eigenvalues in closed form, and as a formula."""

    def pair(middle, under):
        root = np.sqrt(complex(under))
        return [middle + root, middle - root]

    return [
        ("minimax", _losses("minimax"), [0.5j, -0.5j], "±i/2"),
        ("non-saturating", _losses("non_saturating"), [0.5j, -0.5j], "±i/2"),
        ("Wasserstein", _losses("wasserstein"), [1j, -1j], "±i"),
        ("minimax, R1 of γ = 0.5", _losses("minimax", _penalty(generative.r1(0.5))),
         pair(-0.25, 0.0625 - 0.25), "−γ/2 ± √(γ²/4 − 1/4)"),
        ("minimax, R1", _losses("minimax", _penalty(generative.r1(GAMMA))), [-0.5, -0.5], _DOUBLE),
        ("minimax, R1 of γ = 2", _losses("minimax", _penalty(generative.r1(2.0))),
         pair(-1.0, 1 - 0.25), "−γ/2 ± √(γ²/4 − 1/4)"),
        ("minimax, instance noise", _noisy(SIGMA),
         pair(-(SIGMA**2) / 4, SIGMA**4 / 16 - 0.25), "−σ²/4 ± √(σ⁴/16 − 1/4)"),
    ]  # fmt: skip


def _trained() -> dict[str, list[Callable]]:
    return {
        "minimax": _losses("minimax"),
        "non-saturating": _losses("non_saturating"),
        "Wasserstein, gradient penalty": _losses(
            "wasserstein", _penalty(generative.gradient_penalty(0.5))
        ),
        "minimax, R1": _losses("minimax", _penalty(generative.r1(GAMMA))),
    }


def _path(losses: list[Callable], steps: int) -> np.ndarray:
    """Both numbers along alternating gradient descent from (1, 1): `(steps + 1, 2)`."""

    def step(state, _):
        theta, psi = state
        psi = psi - STEP * jax.grad(losses[1], 1)(theta, psi)
        theta = theta - STEP * jax.grad(losses[0], 0)(theta, psi)
        return (theta, psi), jnp.stack([theta, psi])

    with jax.enable_x64(True):
        first = jnp.float64(1.0), jnp.float64(1.0)
        path = np.asarray(jax.jit(lambda s: jax.lax.scan(step, s, length=steps)[1])(first))
    return np.concatenate([[[1.0, 1.0]], path])


def _shown(value: complex) -> str:
    if abs(value.imag) < 1e-7:
        return f"{value.real:.4f}".replace("-", "−")
    real = f"{value.real:.4f} ".replace("-", "−") if abs(value.real) > 1e-12 else ""
    return f"{real}{'+' if value.imag > 0 else '−'}{abs(value.imag):.4f}i"
