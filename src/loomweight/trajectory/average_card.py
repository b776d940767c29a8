"""The README.md of an average that was made after a run: what is in it, and how much of each."""

import torch

from .candidates import Candidate

_MOST = 200


def average_card(made: Candidate, name: str, *, transformers: bool) -> bytes:
    """Markdown with the metadata of Hugging Face; no path of this machine.

    Args:
        made: the average.
        name: of the run.
        transformers: whether the result is a model of that library.

    >>> found = Candidate(1, "the last checkpoint", {}, lw.Weights.of({"w": torch.ones(2)}))
    >>> average_card(found, "my-run", transformers=False).decode().splitlines()[4]
    '# Average of my-run'
    """
    from .. import __version__

    head = ["---", *(["library_name: transformers"] if transformers else []), "tags:", "- loomweight", "---", f"# Average of {name}", ""]
    body = [f"Made by loomweight {__version__} (torch {torch.__version__.partition('+')[0]}): {made.words}.", ""]
    dtypes = ", ".join(sorted({str(spec.dtype).removeprefix("torch.") for spec in made.weights.spec.values()}))
    body += [f"Stored as {dtypes}; arithmetic in float32, rounded once.", ""]
    if made.synthesis:
        body += [f"Relative error of the weighting: {made.synthesis.error:.2g} (L2 over the run).", ""]
    used = [(path.name, weight) for path, weight in made.used.items() if weight]
    rows = [f"| {file} | {weight:.6g} |" for file, weight in used[-_MOST:]]
    more = [f"\nand {len(used) - _MOST} earlier ones."] if len(used) > _MOST else []
    return "\n".join([*head, *body, "| what | share |", "| --- | ---: |", *rows, *more, ""]).encode()
