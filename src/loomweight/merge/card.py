"""The model card: what was merged, how, by which versions, from which inputs."""

from collections.abc import Callable, Iterable
from pathlib import PurePath

import torch

from ..weights import Spec
from .plan import Plan


def card(plan: Plan, clean: Callable[[str], str]) -> str:
    """README.md of the result: Hugging Face metadata, the recipe, seed, versions and the inputs' digests; no local path.

    Args:
        clean: takes absolute paths out of a text.
    """
    from .. import __version__

    recipe, method = plan.recipe, plan.method.name
    hub = [model for model in recipe.models if model.count("/") == 1 and not PurePath(model).is_absolute() and not model.startswith(".")]
    head = ["---", *(["base_model:", *(f"- {model}" for model in hub)] if hub else []), "library_name: transformers", "tags:", "- merge", "- loomweight", "---"]
    inputs = [f"| {clean(model)} | {w.nbytes:,} | `{w.header[:16]}` | {_dtypes(w.spec.values())} |" for model, w in plan.inputs.items()]
    notes = "".join(f"- {clean(note)}\n" for note in plan.notes)
    body = f"""
# {recipe.name or "Merged model"}

Made by loomweight {__version__} (torch {torch.__version__.partition("+")[0]}) with the method `{method}`.

| input | bytes | header digest (sha256) | dtypes |
| --- | --- | --- | --- |
{chr(10).join(inputs)}

Stored as {_dtypes(plan.headers.values())}; arithmetic in float32, rounded once. Seed {recipe.seed}.

## Recipe

```yaml
{clean(recipe.text).strip()}
```
"""
    return "\n".join(head) + "\n" + body + (f"\n## Notes\n\n{notes}" if notes else "")


def _dtypes(specs: Iterable[Spec]) -> str:
    return ", ".join(sorted({str(spec.dtype).removeprefix("torch.") for spec in specs}))


def clean_name(model: str) -> str:
    """A model as a published text may name it: an absolute path is cut to its last part.

    >>> clean_name("/home/me/models/a"), clean_name("org/name")
    ('a', 'org/name')
    """
    return "+".join(PurePath(part).name if part.startswith(("/", "~")) else part for part in model.split("+"))
