"""Run the command line inside this process, as a user would see it."""

from typing import NamedTuple

import pytest

from loomweight.cli import main


class Ran(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ran:
    """The exit code, stdout and stderr of `loomweight ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    code = ended.value.code
    return Ran(code if type(code) is int else 0, printed.out, printed.err)
