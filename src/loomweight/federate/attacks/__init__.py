"""What a hostile client does: with its data, or with its reply."""

from .attack import Attack as Attack
