"""HTML of findings, by autoescaped templates."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from jaxml.core import drawing

if TYPE_CHECKING:
    import jinja2


@functools.cache
def environment(*packages: str) -> jinja2.Environment:
    """The templates of packages of jaxml, those of core included."""
    import jinja2  # noqa: PLC0415 - these are needed for pages and notebooks alone
    import markupsafe  # noqa: PLC0415

    loaders = [jinja2.PackageLoader(name) for name in (*packages, "jaxml.core")]
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["svg"] = lambda figure: markupsafe.Markup(drawing.svg(figure))
    return made


def markup(finding: Any) -> str:
    """A finding as a piece of HTML with its own style, for notebooks."""
    return environment().get_template("notebook.html").render(finding=finding)
