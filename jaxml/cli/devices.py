"""What the commands share on several devices and hosts."""

from __future__ import annotations

from typing import Annotated, Any

import jax
from cyclopts import Parameter

from jaxml.cli.console import out
from jaxml.core.checks import require

Mesh = Annotated[str | None, Parameter(metavar="data=N")]
"""Devices to share the rows (one device)."""

Distributed = Annotated[str | None, Parameter(metavar="HOST:PORT,PROCESSES,INDEX")]


def make_mesh(mesh: str | None, distributed: str | None) -> Any:
    """The mesh that the two arguments ask for, or `None`; to be called before anything else of JAX.

    Of several processes only the first writes to the terminal from here on.

    Raises:
        ValueError: for arguments of another form, or more devices than there are.
    """
    text = mesh or ""
    axis, _, count = text.partition("=")
    valid = not text or (axis == "data" and count.isdecimal() and int(count) > 0)
    require(valid, "--mesh data=N with N of at least 1", repr(text))
    if distributed:
        jax.distributed.initialize(**_processes(distributed))
        out.quiet = jax.process_index() > 0
    elif not text:
        return None
    there = jax.device_count()
    devices = int(count) if text else there
    exact = distributed is not None  # every process takes part
    known = devices == there if exact else devices <= there
    require(known, f"--mesh data={there}{'' if exact else ' or less'}, the devices here", text)
    return jax.make_mesh((devices,), ("data",))


def _processes(text: str) -> dict[str, Any]:
    if text == "auto":
        return {}
    address, *numbers = text.split(",")
    host, _, port = address.rpartition(":")
    valid = host and port.isdecimal() and len(numbers) == 2 and all(map(str.isdecimal, numbers))
    require(valid, "--distributed HOST:PORT,PROCESSES,INDEX or auto", repr(text))
    processes, index = map(int, numbers)
    require(index < processes, f"an index below the {processes} processes", index)
    return {"coordinator_address": address, "num_processes": processes, "process_id": index}
