"""`jaxml doctor`."""

from __future__ import annotations

import jax

from jaxml import report
from jaxml.cli.console import out
from jaxml.core.selfcheck import known_answers


def command() -> int:
    """Versions, devices, and known answers computed on them."""
    about = report.provenance()
    for name, version in about["versions"].items():
        out.print(f"{name:10} {version}")
    sound = True
    for platform in dict.fromkeys([jax.default_backend(), "cpu"]):
        devices = jax.devices(platform)
        out.print(f"{platform:10} {len(devices)} × {devices[0].device_kind}")
        for answer in known_answers(platform):
            verdict = "right" if answer.right else "WRONG"
            out.print(
                f"  {verdict} {answer.name}: off by {answer.error:.1e} of its size "
                f"(at most {answer.tolerance:.0e})"
            )
            sound &= answer.right
    if sound:
        out.print("sound: figures from this installation can be trusted")
        return 0
    out.print(
        f"jax {jax.__version__} returns wrong numbers here; install another release "
        "(0.10.1 is right where 0.10.2 is not)"
    )
    return 1
