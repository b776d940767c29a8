"""What `--resume` finds finished: an output that says of itself that it was made from just this plan."""

import hashlib
from collections.abc import Mapping

from ..weights.finished import finished
from ..weights.write import Output
from .plan import Plan

#: the file of an output that holds the recipe and, in its last line, the digest of the plan
RECORD = "loomweight.yaml"
#: the metadata of an output of one file that holds the digest of the plan
MARK = "loomweight.plan"


def recorded(plan: Plan, files: Mapping[str, bytes], how: str) -> dict[str, bytes]:
    """The side files with the digest of the plan in the last line of the recipe; without a recipe among them there is no record.

    The digest is of the inputs (path, size and time of change), rules, headers, side files, and `how` they are carried out.
    """
    if RECORD not in files:
        return dict(files)
    every = [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in sorted(files.items())]
    return {**files, RECORD: files[RECORD].rstrip() + f"\n# plan {_digest(plan, how, *every)}\n".encode()}


def marked(plan: Plan, how: str) -> dict[str, str]:
    """Metadata for an output of one file, which has no room for a recipe: the digest of the plan, `how` it is carried out and the seed."""
    return {MARK: _digest(plan, how, f"seed {plan.recipe.seed}")}


def _digest(plan: Plan, *words: str) -> str:
    return hashlib.sha256("\n".join([plan.promised().fingerprint, *words]).encode()).hexdigest()


def is_finished(plan: Plan, output: Output) -> bool:
    """True where the output is there and its headers and record are those of this plan, as `recorded` or `marked` gave them."""
    record = {RECORD: output.files[RECORD]} if RECORD in output.files else {}
    return bool(record or MARK in output.metadata) and finished(plan.promised(), Output(output.path, output.shard_size, output.metadata, record))
