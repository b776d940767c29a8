"""`nn.MultiheadAttention` whose heads need not fill the width of the stream."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..weights.axes import Axes
from .sliced_linear import SlicedLinear


class Attention(nn.MultiheadAttention):
    """The same parameters and the same function; the number and the size of heads are those of the weights.

    torch's own forward insists that heads x size is the width of its input, which an elastic number of heads breaks. An exported
    subnet that keeps to it has torch's own class again; another one has this class.
    """

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `nn.MultiheadAttention`: (outputs, weights or None)."""
        batched, first = query.ndim == 3, self.batch_first
        q, k, v = (x if batched and first else x.transpose(0, 1) if batched else x.unsqueeze(0) for x in (query, key, value))
        q, k, v = (self._heads(x) for x in self._projected(q, k, v))
        mask = self._mask(attn_mask, key_padding_mask if batched or key_padding_mask is None else key_padding_mask.unsqueeze(0), q, k, is_causal)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            out = functional.dropout(weights, dropout) @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            out = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        return (out if batched and first else out.transpose(0, 1) if batched else out.squeeze(0)), weights

    def _projected(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        separate = self.in_proj_weight is None
        weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight) if separate else self.in_proj_weight.chunk(3)
        made = [functional.linear(x, weight, bias) for x, weight, bias in zip((q, k, v), weights, biases, strict=True)]
        return made[0], made[1], made[2]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _mask(self, attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor, is_causal: bool) -> Tensor | None:
        if attn_mask is None and is_causal:
            attn_mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)
        whole = None if attn_mask is None else _added(attn_mask, q)
        if whole is not None and whole.ndim == 3:
            whole = whole.view(q.shape[0], self.num_heads, *whole.shape[1:])
        if padding is None:
            return whole
        padded = _added(padding, q)[:, None, None, :]
        return padded if whole is None else whole + padded


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers to add: True stands for what is hidden."""
    return torch.zeros(mask.shape, dtype=like.dtype, device=mask.device).masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else mask.to(like)


def loosened(model: nn.Module, axes: Axes, varying: Any) -> list[Attention]:
    """Give every attention of torch whose inside or whose width varies a forward that allows it."""
    changed: list[Attention] = []
    for name, module in model.named_modules():
        if type(module) is not nn.MultiheadAttention or module.bias_k is not None or module.add_zero_attn:
            continue
        layouts = [layout for tensor, layout in axes.layouts.items() if tensor.startswith(f"{name}." if name else "") and "." not in tensor[len(name) + 1 :]]
        if any(factor in varying for layout in layouts for axis in layout.axes for term in axis for factor in term if isinstance(factor, str)):
            module.__class__ = Attention
            module._qkv_same_embed_dim = False  # keeps the fused path of encoder layers away, which knows one width
            changed.append(module)  # type: ignore[arg-type]
    return changed


def tightened(model: nn.Module) -> nn.Module:
    """Give linear layers, and attention whose heads fill its width, torch's own class again."""
    for module in model.modules():
        if type(module) is SlicedLinear:
            module.__class__ = nn.Linear  # type: ignore[assignment]
        if isinstance(module, Attention) and module.in_proj_weight is not None and module.in_proj_weight.shape[0] == 3 * module.in_proj_weight.shape[1]:
            width = module.in_proj_weight.shape[1]
            module.__class__ = nn.MultiheadAttention  # type: ignore[assignment]
            module._qkv_same_embed_dim = True
            module.embed_dim = module.kdim = module.vdim = width
            module.head_dim = width // module.num_heads
    return model
