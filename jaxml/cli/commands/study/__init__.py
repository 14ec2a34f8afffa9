"""`jaxml study`: its kinds, one file each."""

from pathlib import Path

from cyclopts import App

from jaxml.cli.options import Resume, Start
from jaxml.core.checks import near, require
from jaxml.core.run_folder import config_of

KINDS = {
    "batch-size": "How many updates does each batch size need, and up to which does a larger pay?",
    "optimizers": "Which optimiser, which schedule?",
    "depth": "Deep or wide, at one number of parameters?",
    "edge": "How sharp does full-batch training get?",
    "generalization": "Is the validation set too small?",
    "normalization": "What does batch norm do?",
    "diagnose": "What is wrong with this network, the model or its training?",
}

command = App(name="study", help="Train many configurations side by side and compare them.")
for _kind, _question in KINDS.items():
    _file = "sweep" if _kind in ("batch-size", "optimizers") else _kind
    _function = _kind.replace("-", "_")
    command.command(f"jaxml.cli.commands.study.{_file}:{_function}", name=_kind, help=_question)


@command.default
def go_on(kind: str | None = None, /, *, resume: Resume = None, start: Start = None) -> int:
    """Train many configurations side by side and compare them.

    Args:
        kind: of the study; each has its own --help.
        resume: go on with the study in this folder.
        start: with --resume: from this checkpoint (the latest); later ones go.
    """
    from jaxml.cli import runs  # noqa: PLC0415 - needs JAX
    from jaxml.cli.commands.study import sweep  # noqa: PLC0415

    got = "none" if kind is None else f"{kind!r}{near(kind, KINDS)}"
    require(kind is None and resume is not None, f"a study among {', '.join(KINDS)}", got)
    assert resume is not None
    was = config_of(Path(resume), "study")["arguments"].get("kind")
    require(was in sweep.SETTINGS, "a new study: this kind is begun again", resume)
    return sweep.run(runs.asked("study", sweep.SETTINGS[was], resume, start, was))
