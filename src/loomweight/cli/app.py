"""`loomweight`: the commands, and how they end.

Exit codes: 0 done, 1 done and something to look at (diff, doctor), 2 the user's mistake (one message, no traceback), 130 interrupted.
"""

import sys
from importlib import import_module
from typing import Annotated

import typer

from .. import __version__
from ..errors import LoomweightError

app = typer.Typer(name="loomweight", help="Make better weights out of the weights you have.", no_args_is_help=True, rich_markup_mode="markdown")


def _show_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"loomweight {__version__}")
        raise typer.Exit


@app.callback()
def options(version: Annotated[bool | None, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")] = None) -> None:
    """Make better weights out of the weights you have."""


_INTERRUPTED = 130
_NOTHING_NOTED = "no half output was left behind. The same command with --resume, where it has one, goes on."
#: command -> the module of this package that holds it, in the order of `--help`
COMMANDS = ("demo", "merge", "recipe", "tune", "align", "average", "axes", "barrier", "supernet", "federate", "repo", "inspect", "diff", "doctor", "methods")


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit."""
    words = sys.argv[1:] if arguments is None else arguments
    named = next((word for word in words if not word.startswith("-")), None)
    for command in [named] if named in COMMANDS else COMMANDS:  # a small merge need not wait for other commands' imports
        import_module(f".{command}", __package__)
    try:
        app(args=words)
    except LoomweightError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
    except KeyboardInterrupt as error:
        _say_interrupted(error)
        sys.exit(_INTERRUPTED)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:  # typer catches the interrupt, and says nothing
            _say_interrupted(ended)
        raise


def _say_interrupted(error: BaseException) -> None:
    """What was left, as whoever was interrupted has noted it."""
    notes: list[str] = []
    cause: BaseException | None = error
    while cause:
        notes += getattr(cause, "__notes__", [])
        cause = cause.__context__
    typer.secho(f"interrupted; {' '.join(notes) or _NOTHING_NOTED}", fg="yellow", err=True)
