"""`python -m benchmarks [NAME …]`: a table of ratios, and a JSON file with all figures."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from rich.console import Console

from benchmarks import curvature, landscape, sequences, startup, studies, training_speed
from benchmarks.tables import Row, heading, table
from benchmarks.timing import spread
from jaxml import report
from jaxml.core.files import write_atomically

COMPARISONS = {
    "steps": training_speed.steps_per_second,
    "convolutions": training_speed.convolutions,
    "seeds": training_speed.sixteen_seeds,
    "transformers": sequences.training_steps,
    "decoding": sequences.greedy_decoding,
    "recurrent": sequences.recurrent_steps,
    "hessian": curvature.exact_hessian,
    "products": curvature.hessian_vector_product,
    "reading": curvature.reading,
    "study": studies.throughput,
}
WITH_PEERS = {
    "dense": landscape.dense_hessians,
    "ends": landscape.ends,
    "density": landscape.densities,
}


def main() -> int:
    """Run the benchmarks named, all by default."""
    names = [*COMPARISONS, *WITH_PEERS, "startup"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant (7)")
    parser.add_argument(
        "--peers", action="store_true", help="more libraries for dense, ends and density"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks.json"), help="the JSON file")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in names]
    if unknown or options.rounds < 1:
        parser.error(f"expected names among {', '.join(names)} and rounds of at least 1")

    # a file has no width of its own, and cells would be cut to 80 columns
    width = None if sys.stdout.isatty() else 160
    console = Console(highlight=False, soft_wrap=True, width=width)
    device = jax.devices()[0].device_kind
    console.print(
        f"{device}, {os.cpu_count()} cores, jax {jax.__version__}, torch {torch.__version__} "
        f"with {torch.get_num_threads()} threads; medians of {options.rounds} turns"
    )
    chosen = options.names or names
    rows: list[Row] = []
    starts: list[dict[str, Any]] = []
    with_peers = {
        name: functools.partial(rows, others=options.peers) for name, rows in WITH_PEERS.items()
    }
    for name in chosen:
        if name == "startup":
            continue
        for row in (COMPARISONS | with_peers)[name](options.rounds):
            console.print(f"[bold]{heading(row)}[/bold]")
            console.print(table(row))
            for peer, why in row.absent.items():
                console.print(f"  {peer} did not run: {why}", markup=False)
            for check, met in row.checks.items():
                console.print(f"  {check}: {'met' if met else 'NOT met'}", markup=False)
            rows.append(row)
            _write(options, rows, starts)
    if "startup" in chosen:
        for start in startup.landscape(max(1, options.rounds // 3)):
            console.print(
                f"jaxml landscape, compilation cache {start['cache']}: first line after "
                f"{start['first_line']:.1f} s, first width after {start['first_width']:.1f} s, "
                f"end after {start['end']:.1f} s"
            )
            starts.append(start)
    _write(options, rows, starts)
    console.print(str(options.out))
    return 0


def _write(options: argparse.Namespace, rows: list[Row], starts: list[dict[str, Any]]) -> None:
    """What is measured so far: a peer that fails takes nothing with it."""
    provenance = report.provenance()
    provenance["versions"]["torch"] = torch.__version__
    record = {
        **provenance,
        "torch_device": str(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "torch_threads": torch.get_num_threads(),
        "rounds": options.rounds,
        "comparisons": [row.record() for row in rows],
        "startup": {
            cache: {
                key: spread(np.array([s[key] for s in starts if s["cache"] == cache]))
                for key in ("first_line", "first_width", "end")
            }
            for cache in dict.fromkeys(s["cache"] for s in starts)
        },
    }
    write_atomically(options.out, json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(main())
