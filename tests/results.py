"""What every result must do, whatever it is of."""

import dataclasses
import json

import pytest
from matplotlib.figure import Figure

from jaxml.core.finding import finding
from jaxml.core.serialization import to_npz


def check_shown_and_kept(result, verdict, folder):
    """It begins with its verdict, draws into axes, is strict JSON, survives a file, is frozen."""
    shown = finding(result)
    assert shown.verdict.startswith(verdict)
    assert str(result).splitlines()[0] == shown.verdict
    assert shown.question.endswith("?")
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["verdict"] == shown.verdict
    assert result._repr_html_().count("<svg ") == len(shown.figures)
    assert result._repr_mimebundle_(include=None, exclude=None) == {"text/plain": str(result)}
    result.save(folder / "result.npz")
    assert to_npz(type(result).load(folder / "result.npz")) == to_npz(result)
    for i in range(len(shown.figures)):
        ax = Figure().add_subplot()
        assert result.plot(ax, figure=i) is ax
        assert ax.get_xlabel()
        assert ax.get_ylabel()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, dataclasses.fields(result)[0].name, None)
    if shown.records:
        assert len(result.to_dataframe()) > 0
