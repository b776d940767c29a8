"""What `--resume` finds finished: an output that says of itself that it was made from just this plan."""

import hashlib
from collections.abc import Mapping

from ..weights.finished import finished
from ..weights.write import Output
from .plan import Plan

#: the file of an output that holds the recipe and, in its last line, the digest of the plan
RECORD = "loomweight.yaml"


def recorded(plan: Plan, files: Mapping[str, bytes], how: str) -> dict[str, bytes]:
    """The side files with the digest of the plan in the last line of the recipe; without a recipe among them there is no record.

    The digest is of the inputs (path, size and time of change), rules, headers, side files, and `how` they are carried out.
    """
    if RECORD not in files:
        return dict(files)
    every = [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in sorted(files.items())]
    digest = hashlib.sha256("\n".join([plan.promised().fingerprint, how, *every]).encode()).hexdigest()
    return {**files, RECORD: files[RECORD].rstrip() + f"\n# plan {digest}\n".encode()}


def is_finished(plan: Plan, output: Output) -> bool:
    """True where the output is there and its record and headers are those of this plan; `output.files` come from `recorded`."""
    record = {RECORD: output.files[RECORD]} if RECORD in output.files else {}
    return bool(record) and finished(plan.promised(), Output(output.path, output.shard_size, output.metadata, record))
