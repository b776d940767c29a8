"""The command line: a file per command that parses, calls and prints."""

from .app import main as main
