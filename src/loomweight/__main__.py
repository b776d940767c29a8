"""`python -m loomweight`."""

from .cli import main

main()
