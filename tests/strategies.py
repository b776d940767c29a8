"""What hypothesis draws: lists of weight sets that agree in names and shapes."""

import torch
from hypothesis import strategies as st

SHAPES = [(), (1,), (5,), (2, 3), (3, 2, 2)]


@st.composite
def weight_sets(draw: st.DrawFn, fewest: int = 3, most: int = 7) -> list[dict[str, torch.Tensor]]:
    """n state dicts of float32 numbers, of one to three tensors, at a scale from 1e-3 to 1e3."""
    n = draw(st.integers(fewest, most))
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    scale = 10.0 ** draw(st.integers(-3, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    names = [f"layers.{i}.weight" for i in range(len(shapes))]
    return [{name: scale * torch.randn(shape, generator=generator) for name, shape in zip(names, shapes, strict=True)} for _ in range(n)]
