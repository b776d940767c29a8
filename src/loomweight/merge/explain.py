"""What a plan will do, in words and numbers, before any data is read."""

import re
from collections.abc import Iterable, Sequence

from ..weights import Spec, Weights
from .plan import Group, Plan

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def explain(plan: Plan) -> str:
    """Tensor group by tensor group: names, shapes, rule with its numbers, models, dtype, bytes; then the totals and the notes.

    >>> from loomweight.merge import Draft, plan
    >>> import torch
    >>> [recipe] = Draft.of("{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: 1}}").recipes()
    >>> sets = {name: Weights.of({"h.0.w": torch.ones(2, 3), "h.1.w": torch.ones(2, 3)}) for name in "ab"}
    >>> print(explain(plan(recipe, sets)).splitlines()[4])
      h.{0-1}.w  2 x [2, 3] float32, 48 bytes
    """
    recipe = plan.recipe
    title = f"{recipe.name or 'result'}: {recipe.method} of {', '.join(recipe.models)}"
    lines = [title, *(line for group in plan.groups for line in _group(plan, group)), *_totals(plan)]
    return "\n".join([*lines, *(f"note: {note}" for note in plan.notes)])


def _group(plan: Plan, group: Group) -> list[str]:
    base = f", base {group.base}" if group.base else ""
    floating = any(plan.headers[name].averages for name in group.names)
    rule = brief(repr(plan.rule(group))) if floating else "integers, which are never averaged"
    head = f"\n{rule}\n  from {', '.join(group.models)}{base}"
    return [head, *_rows(group, plan.headers), *_moved(group)]


def _rows(group: Group, headers: dict[str, Spec]) -> list[str]:
    """One row for names that differ in numbers alone and have one shape and dtype."""
    alike: dict[tuple[str, Spec], list[str]] = {}
    for name in group.names:
        alike.setdefault((_NUMBER.sub("#", name), headers[name]), []).append(name)
    rows = []
    for (_, spec), names in alike.items():
        count = f"{len(names)} x " if len(names) > 1 else ""
        dtype = str(spec.dtype).removeprefix("torch.")
        rows.append(f"  {collapsed(names)}  {count}{list(spec.shape)} {dtype}, {size(spec.nbytes * len(names))}")
    return rows


def _moved(group: Group) -> list[str]:
    """Where a source's tensor has another name than the result's."""
    found = []
    for i, model in enumerate(group.models):
        pairs = [(old[i], new) for new, old in group.names.items() if old[i] != new]
        if pairs:
            found.append(f"  {model}: {collapsed([old for old, _ in pairs])} becomes {collapsed([new for _, new in pairs])}")
    return found


def _totals(plan: Plan) -> list[str]:
    used: dict[str, set[str]] = {}
    for group in plan.groups:
        for names in group.names.values():
            for model, name in zip(group.read, names, strict=True):
                used.setdefault(model, set()).add(name)
    read = sum(_bytes(plan.inputs[model], names) for model, names in used.items() if model not in plan.recipe.earlier)
    written = sum(plan.headers[name].nbytes for name in plan.names if name not in plan.ties)
    tied = f", {len(plan.ties)} of them shared with others" if plan.ties else ""
    stored = f"; floating tensors are stored as {str(plan.dtype).removeprefix('torch.')}" if plan.dtype else ""
    middle = f", and {', '.join(plan.recipe.earlier)}, computed on the way" if plan.recipe.earlier else ""
    return [
        "",
        f"{len(plan.names)} tensors{tied}{stored}",
        f"inputs: {size(read)} (read once, or twice by rules that weigh models first){middle}; output: {size(written)} on disk",
    ]


def _bytes(weights: Weights, names: Iterable[str]) -> int:
    return sum(weights.spec[name].nbytes for name in {weights.ties.get(name, name) for name in names})


def collapsed(names: Sequence[str]) -> str:
    """Names that differ in numbers alone as one pattern.

    >>> collapsed(["h.0.w", "h.1.w", "h.2.w", "h.5.w"]), collapsed(["a", "b"])
    ('h.{0-2,5}.w', 'a, b')
    """
    patterns: dict[str, list[tuple[int, ...]]] = {}
    for name in names:
        patterns.setdefault(_NUMBER.sub("#", name), []).append(tuple(map(int, _NUMBER.findall(name))))
    return ", ".join(_filled(pattern, numbers) for pattern, numbers in patterns.items())


def _filled(pattern: str, numbers: list[tuple[int, ...]]) -> str:
    columns = iter(zip(*numbers, strict=True))
    return re.sub("#", lambda _: _ranges(sorted(set(next(columns)))), pattern)


def _ranges(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "{" + ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "}"


def brief(rule: str) -> str:
    """A rule's repr without the weight sets in it and without what was left at None.

    >>> brief("Around(base=Weights(x, 3 tensors), rule=Mean(weights=None, normalize=True))")
    'Around(base, rule=Mean(normalize=True))'
    """
    return re.sub(r"\w+=None(, )?", "", re.sub(r"(\w+)=Weights\([^()]*\)", r"\1", rule)).replace(", )", ")")


def size(count: float) -> str:
    """Bytes for people.

    >>> size(48), size(2.5e9)
    ('48 bytes', '2.5 GB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}" if count < 100 * scale else f"{count / scale:,.0f} {unit}"
    return f"{count:.0f} bytes"
