"""The kinds of `jaxml study`, each with the options that it takes and no others."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from jaxml import studies
from jaxml.cli import networks, runs
from jaxml.cli.console import add_data
from jaxml.cli.numbers import finite, fraction, nonnegative, positive, whole

_NETWORK = ("model", *networks.OPTIONS)
_SWEEP = (
    *(*_NETWORK, "batch_sizes", "rates", "optimizers", "momenta", "schedules", "warmup", "seeds"),
    *("target", "epochs", "steps", "plateau", "train_loss"),
)
# kind -> what it asks, and what stands for each of its options that is not given
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "batch-size": (
        "How many updates does each batch size need, and up to which does a larger one pay?",
        dict.fromkeys(_SWEEP)
        | {
            "model": "mlp",
            "batch_sizes": "8,16,32,64,128,256,512,1024",
            "optimizers": "momentum",
            "momenta": "0,0.9",
            "schedules": "constant",
            "warmup": 0.0,
            "seeds": 3,
            "target": 0.06,
        },
    ),
    "optimizers": (
        "Which optimiser, which schedule?",
        dict.fromkeys(_SWEEP)
        | {
            "model": "mlp",
            "batch_sizes": "32",
            "optimizers": ",".join(studies.OPTIMIZERS),
            "momenta": "0.9",
            "schedules": "constant,cosine",
            "warmup": 0.0,
            "seeds": 3,
            "target": 0.06,
        },
    ),
    "depth": (
        "Deep or wide, at one number of parameters?",
        {"activation": None, "rates": "0.01:1:5", "seeds": 3, "epochs": 40.0}
        | {"parameters": 5000, "depths": "1,2,4,8"},
    ),
    "edge": (
        "How sharp does full-batch training get?",
        dict.fromkeys(_NETWORK)
        | {"model": "mlp", "hidden": "32", "activation": "tanh", "rates": None, "steps": 2000}
        | {"optimizers": ",".join(studies.EDGES), "momentum": 0.9},
    ),
    "generalization": (
        "Is the validation set too small?",
        dict.fromkeys(_NETWORK) | {"model": "mlp", "rates": "0.001:1:7", "epochs": 20.0},
    ),
    "normalization": (
        "What does batch norm do?",
        {name: None for name in _NETWORK if name != "norm"}
        | {"model": "mlp", "hidden": "64,64,64,64", "rates": "0.03:10:6", "epochs": 20.0},
    ),
    "diagnose": (
        "What is wrong with this network, the model or its training?",
        dict.fromkeys(networks.MODELS["mlp"])
        | {"rates": "0.01:1:5", "epochs": 40.0, "acceptable": 0.05},
    ),
}
_TYPES: dict[str, tuple[Any, str]] = {
    "model": (str, ", ".join(networks.MODELS)),
    "batch_sizes": (str, "B, as 8,16"),
    "rates": (str, "η: LOW:HIGH:COUNT, or a list"),
    "optimizers": (str, f"{', '.join(studies.OPTIMIZERS)}; edge: {', '.join(studies.EDGES)}"),
    "momenta": (str, "β, or Adam's β₁, as 0,0.9"),
    "momentum": (fraction, "β, or Adam's β₁"),
    "schedules": (str, ", ".join(studies.SCHEDULES)),
    "warmup": (finite, "share of the updates"),
    "seeds": (int, "how many"),
    "target": (finite, "error on the validation set"),
    "epochs": (finite, "budget of a network (40)"),
    "steps": (whole(1), "budget of a network in updates"),
    "plateau": (positive, "end lanes that wait so long for a better one"),
    "train_loss": (positive, "also: sharpness at this training loss"),
    "parameters": (whole(1), "of a network"),
    "depths": (str, "hidden layers, as 1,2,4"),
    "acceptable": (fraction, "error in training"),
}


def add_kinds(parser: argparse.ArgumentParser, command: Callable[..., int]) -> None:
    """Add a parser for each kind of study, and what goes on with one."""
    runs.add_resume(parser, "chunk")
    kinds = parser.add_subparsers(dest="kind", metavar="STUDY", title="studies")
    kinds.default = argparse.SUPPRESS
    # a run's config.json has all of them: those of other kinds as null
    every: dict[str, Any] = dict.fromkeys(name for _, known in KINDS.values() for name in known)
    defaults = {}
    for kind, (question, options) in KINDS.items():
        sub = kinds.add_parser(kind, help=question, description=question, allow_abbrev=False)
        debug = "show the traceback of an error"
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=debug)
        add_data(sub, "digits")
        sub.set_defaults(data="digits")
        networks.add_arguments(sub, [name for name in networks.OPTIONS if name in options])
        for name in [name for name in options if name in _TYPES]:
            type_, help_ = _TYPES[name]
            sub.add_argument(f"--{name.replace('_', '-')}", type=type_, help=help_)
        sub.set_defaults(**options)
        for action in sub._actions:
            if options.get(action.dest) is not None:  # in the place of the network's own
                action.help = f"{(action.help or '').partition(' (')[0]} ({options[action.dest]})"
        sub.add_argument("--l2", type=nonnegative, default=0.0, help="λ in (λ/2)‖θ‖² (0)")
        sub.add_argument("--out", help="a new folder (runs/study-N)")
        defaults[kind] = every | runs.set_aside(sub) | {"kind": kind}
        sub.set_defaults(command=command, parser=sub, defaults=defaults[kind])
    parser.set_defaults(kinds=defaults)
