"""Attention, by hand and ready made."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(5, 12), nn.Linear(5, 12), nn.Linear(5, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (3, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = (q @ k.transpose(-1, -2) / 2).softmax(-1)
        return self.o((scores @ v).transpose(1, 2).flatten(2))


class Fused(nn.Module):
    """Queries, keys and values from one layer, on a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.qkv, self.o, self.out = nn.Linear(5, 12), nn.Linear(12, 36), nn.Linear(12, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.e(x)
        q, k, v = self.qkv(x).unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(x + self.o(seen.transpose(1, 2).flatten(2)))


def rotated(x: Tensor) -> Tensor:
    """Rotary positions, in the manner that pairs the first half with the second."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2]).to(x)[:, None] * torch.tensor([1.0, 0.1]).to(x)
    cos, sin = (torch.cat([part, part], -1) for part in (angles.cos(), angles.sin()))
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def rotated_pairs(x: Tensor) -> Tensor:
    """Rotary positions, in the manner that pairs neighbours, as complex numbers."""
    angles = torch.arange(x.shape[-2]).to(x)[:, None] * torch.tensor([1.0, 0.1]).to(x)
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


class Grouped(nn.Module):
    """Six heads of queries on three of keys and values."""

    def __init__(self, turn: Callable[[Tensor], Tensor] = lambda x: x, built_in: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(5, 24), nn.Linear(5, 12), nn.Linear(5, 12), nn.Linear(24, 5)
        self.turn, self.built_in = turn, built_in

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        q, k = self.turn(q), self.turn(k)
        if not self.built_in:
            k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        seen = functional.scaled_dot_product_attention(q, k, v, enable_gqa=self.built_in)
        return self.o(seen.transpose(1, 2).flatten(2))


class Ready(nn.Module):
    """`nn.MultiheadAttention` on a residual stream."""

    def __init__(self, batch_first: bool = True, weights: bool = False, **settings: Any) -> None:
        super().__init__()
        self.e, self.o, self.weights = nn.Linear(5, 8), nn.Linear(8, 2), weights
        self.mha = nn.MultiheadAttention(8, 2, batch_first=batch_first, **settings)
        self.ek = nn.Linear(5, settings["kdim"]) if "kdim" in settings else self.e
        self.ev = nn.Linear(5, settings["vdim"]) if "vdim" in settings else self.e

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        seen, weights = self.mha(self.e(x), self.ek(x), self.ev(x), need_weights=self.weights)
        return self.o(self.e(x) + seen), weights


class Linear(nn.Module):
    """Attention without a softmax, by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x).relu(), self.k(x).relu(), self.v(x)
        memory = torch.einsum("...td,...te->...de", k, v)
        return self.o(torch.einsum("btd,bde->bte", q, memory) / (1 + torch.einsum("btd,bd->bt", q, k.sum(1))[..., None]))


class Encoder(nn.Module):
    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
        self.e, self.t, self.o = nn.Linear(5, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.t(self.e(x)))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        self.e, self.d, self.t, self.o = nn.Linear(5, 6), nn.Linear(5, 8), nn.TransformerDecoder(layer, 1), nn.Linear(8, 2)
        self.m = nn.Linear(6, 8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.o(self.t(self.d(y), self.m(self.e(x).relu())))


ATTENTION: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "by_hand": (ByHand, drawn(2, 4, 5)),
    "fused": (Fused, drawn(2, 4, 5)),
    "grouped": (Grouped, drawn(2, 4, 5)),
    "grouped_built_in": (lambda: Grouped(built_in=True), drawn(2, 4, 5)),
    "rotary": (lambda: Grouped(rotated), drawn(2, 4, 5)),
    "rotary_pairs": (lambda: Grouped(rotated_pairs), drawn(2, 4, 5)),
    "linear_attention": (Linear, drawn(2, 4, 5)),
    "mha": (Ready, drawn(2, 4, 5)),
    "mha_time_first": (lambda: Ready(batch_first=False), drawn(4, 2, 5)),
    "mha_other_widths": (lambda: Ready(kdim=6, vdim=7), drawn(2, 4, 5)),
    "mha_bias": (lambda: Ready(add_bias_kv=True), drawn(2, 4, 5)),
    "mha_zero": (lambda: Ready(add_zero_attn=True), drawn(2, 4, 5)),
    "mha_weights": (lambda: Ready(weights=True), drawn(2, 4, 5)),
    "encoder": (Encoder, drawn(2, 4, 5)),
    "encoder_norm_first": (lambda: Encoder(norm_first=True), drawn(2, 4, 5)),
    "decoder": (Decoder, (drawn(2, 4, 5), drawn(2, 3, 5))),
}
