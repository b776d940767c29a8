"""`python -m loomweight` is `loomweight`."""

from .cli import main

if __name__ == "__main__":
    main()
