"""The bar: for people at a terminal only, and never in the way of the work."""

import io

import pytest

from loomweight.engines.progress import track
from loomweight.evidence import Run, gradient_norms

from .nets import data, mlp


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stderr", "show", "seen"), [(Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)])
def test_a_bar_where_a_person_watches(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, show: bool, seen: bool) -> None:
    monkeypatch.setattr("sys.stderr", stderr)
    gradient_norms(mlp(), data(), run=Run(progress=show))
    assert ("gradient norms" in stderr.getvalue()) is seen


def test_a_stream_without_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    assert list(track(iter("abc"), "letters")) == ["a", "b", "c"]
    assert "letters" in stderr.getvalue()
