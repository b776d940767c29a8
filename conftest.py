"""For every test and every example in a docstring: one thread each, no network, examples of hypothesis without a clock."""

import os
from pathlib import Path

# before torch is imported: two workers on two cores must not fight, and processes that tests start inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

from tests import checked

checked.install()  # before loomweight is imported

TESTS = Path(__file__).parent / "tests"

settings.register_profile("house", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "house")


@pytest.fixture(autouse=True)
def _names_in_examples(doctest_namespace: dict[str, object]) -> None:
    """An example in a docstring may say `torch` and `lw` without an import."""
    import torch

    import loomweight

    doctest_namespace |= {"torch": torch, "lw": loomweight}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Examples are run in src; in tests/ only tests are collected, whatever else lies there."""
    inside = TESTS in collection_path.parents
    return True if inside and collection_path.suffix == ".py" and not collection_path.name.startswith("test_") else None
