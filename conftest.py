"""For every test and every example in a docstring: one thread each, no network, examples of hypothesis without a clock."""

import os

# before torch is imported: two workers on two cores must not fight, and processes that tests start inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "house")


@pytest.fixture(autouse=True)
def _names_in_examples(doctest_namespace: dict[str, object]) -> None:
    """An example in a docstring may say `torch` and `lw` without an import."""
    import torch

    import loomweight

    doctest_namespace |= {"torch": torch, "lw": loomweight}
