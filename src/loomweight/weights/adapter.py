"""PEFT adapters: LoRA as a delta on named tensors of its base, and any of its forms folded into the base exactly.

    delta = scaling * B @ A,    scaling = alpha / r   (rank-stabilised: alpha / sqrt(r))

Papers: LoRA: Low-Rank Adaptation of Large Language Models (2021), https://arxiv.org/abs/2106.09685, eq. 3;
A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA (2023), https://arxiv.org/abs/2312.03732.
Code agreed with: peft 0.21 `merge_and_unload`. We differ in rounding: peft rounds a half-precision delta before it adds it,
here the sum is rounded, once.
"""

from pathlib import Path

from ..errors import BadParameter
from .adapter_fold import Fold
from .adapter_folder import Adapter, read_adapter
from .adapter_tensors import Factors
from .locate import locate
from .order import natural
from .spec import Block, Spec
from .weights import Weights


def load_adapter(folder: Path, label: str) -> Weights:
    """An adapter without its base: deltas named after the base's tensors, computed block by block.

    Raises:
        BadParameter: the adapter is no delta without its base (DoRA, or tensors that replace the base's).
        BrokenFile: see `read_adapter`.
    """
    adapter = read_adapter(folder)
    if adapter.dora or adapter.replaced:
        what = "a DoRA adapter" if adapter.dora else f"an adapter that replaces tensors of its base ({', '.join(natural(adapter.replaced)[:3])})"
        raise BadParameter(f"{folder}: {what} is no delta without the base; use apply_adapter(base, path), or the path 'base+adapter'.")
    parts: dict[str, tuple[Factors, Spec]] = {}
    for module, factors in adapter.factors.items():
        spec = adapter.spec(factors)
        parts[f"{module}.weight"] = factors, Spec(spec.shape[::-1] if adapter.flipped(factors) else spec.shape, spec.dtype)
        if factors.bias:
            parts[f"{module}.bias"] = factors, Spec((adapter.store.spec[factors.bias].numel,), adapter.store.spec[factors.bias].dtype)
    spec = {name: parts[name][1] for name in natural(parts)}
    sources = (folder.absolute(), adapter.store.stamp.path.absolute())
    return Weights(spec, lambda name: _delta(adapter, name, *parts[name]), origin=adapter.origin, label=label, sources=sources)


def apply_adapter(base: Weights, path: str | Path, *, label: str | None = None) -> Weights:
    """Fold a PEFT adapter into its base, lazily: the result has the base's names, dtypes and ties.

        weight + scaling * B @ A, or DoRA's magnitude * direction of it; biases and trained modules replace the base's.

    A tensor that several names share is changed once, for all of them.

    Args:
        base: the model that the adapter was trained on.
        path: the adapter's folder.
        label: a word for messages, by default `base+adapter`.

    Raises:
        NamesDiffer: the base lacks a tensor that the adapter changes.
        ShapesDiffer: a product of factors has another shape than the base's tensor.
        TiesDiffer: the adapter replaces one of several names that share a tensor.
        BrokenFile: the adapter is damaged or of a kind that is not understood.

    >>> import torch
    >>> from safetensors.torch import save_file
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 2}')
    ...     factors = {"up.lora_A.weight": torch.tensor([[1.0, 0.0]]), "up.lora_B.weight": torch.tensor([[1.0], [3.0]])}
    ...     save_file(factors, Path(folder, "adapter_model.safetensors"))
    ...     apply_adapter(Weights.of({"up.weight": torch.ones(2, 2)}), folder)["up.weight"]
    tensor([[3., 1.],
            [7., 1.]])
    """
    adapter = read_adapter(locate(str(path)))
    fold = Fold(base, adapter)
    label = label or f"{base.label or 'base'}+{adapter.folder.absolute().name}"
    sources = (*base.sources, adapter.folder.absolute(), adapter.store.stamp.path.absolute())
    return Weights(fold.spec, fold.open, ties=base.ties, origin=("apply_adapter", base, *adapter.origin), label=label, sources=sources)


def _delta(adapter: Adapter, name: str, factors: Factors, spec: Spec) -> Block:
    if factors.bias and name == f"{factors.module}.bias":
        shift = adapter.bias(factors, spec.work)
        return lambda lo, hi: shift[lo:hi]
    return adapter.delta(factors, spec.work, adapter.flipped(factors)).block
