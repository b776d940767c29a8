"""Small networks in which something keeps units from being exchanged that could be overlooked."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Between(nn.Module):
    """Linear, some function of six units, linear."""

    def __init__(self, middle: Callable[[Tensor], Tensor], width: int = 6) -> None:
        super().__init__()
        self.a, self.b, self.middle = nn.Linear(3, 6), nn.Linear(width, 2), middle

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.middle(self.a(x)))


def alone(x: Tensor) -> Tensor:
    return x * x[:, :1]


def selected(x: Tensor) -> Tensor:
    return x + x[:, 2, None]


def restacked(x: Tensor) -> Tensor:
    return torch.stack([part.tanh() if i % 2 else part for i, part in enumerate(x.unbind(-1))], -1)


def uneven_sum(x: Tensor) -> Tensor:
    return x * torch.cat([x, x[:, :2]], 1).mean(1, keepdim=True)


def halves_differ(x: Tensor) -> Tensor:
    return x * torch.cat([x[:, :3].relu(), x[:, 3:].tanh()], 1).sum(1, keepdim=True)


def part_of_a_grid(x: Tensor) -> Tensor:
    return x * (x.view(-1, 2, 3).flatten(1)[:, :4].exp()).sum(1, keepdim=True)


def pooled(x: Tensor) -> Tensor:
    return functional.avg_pool1d(x[:, None], 2)[:, 0]


def windowed(x: Tensor) -> Tensor:
    return x.unfold(1, 3, 1).sum(-1)


def padded(x: Tensor) -> Tensor:
    return functional.pad(x, (1, 1)).cumsum(1)[:, 1:-1]


def padded_sum(x: Tensor) -> Tensor:
    return functional.pad(x, (2, 0))


def summed_up(x: Tensor) -> Tensor:
    return x.cumsum(1)


def by_rank(x: Tensor) -> Tensor:
    return x.sort(1).values


def largest(x: Tensor) -> Tensor:
    return x * (x.argmax(1, keepdim=True) + 1)


def weighted_by_place(x: Tensor) -> Tensor:
    return x * torch.arange(6.0)


def looked_up(x: Tensor) -> Tensor:
    return x[:, torch.tensor([3, 1, 0, 2, 5, 4])].tanh() + x


def gathered(x: Tensor) -> Tensor:
    return x.gather(1, torch.tensor([[0, 0, 1, 2, 3, 5]]).expand(len(x), -1))


def scattered(x: Tensor) -> Tensor:
    return torch.zeros_like(x).index_add(1, torch.tensor([0, 0, 1, 2, 3, 3]), x)


def written_into(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:3] = y[:, 1:3] * 2
    return y


def written_through_a_view(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    seen = y.view(len(x), 2, 3)
    y += x
    return seen.flatten(1).tanh()


def halves_joined(x: Tensor) -> Tensor:
    return torch.cat(x.chunk(2, 1), 1)


def masked(x: Tensor) -> Tensor:
    y = x.clone()
    y[y > 1] = 0
    return y


def triangular(x: Tensor) -> Tensor:
    return (x[:, None] * torch.ones(6, 6).tril()).sum(-1)


def mirrored(x: Tensor) -> Tensor:
    return x + 2 * x.flip(1)


def rolled(x: Tensor) -> Tensor:
    return x + 2 * x.roll(1, 1)


def against_itself(x: Tensor) -> Tensor:
    return torch.einsum("ni,nj->nij", x, x).triu().sum(1)


def spectrum(x: Tensor) -> Tensor:
    return torch.fft.rfft(x).real


def complex_pairs(x: Tensor) -> Tensor:
    return torch.view_as_real(torch.view_as_complex(x.view(-1, 3, 2)) ** 2).flatten(1)


def one_compared(x: Tensor) -> Tensor:
    return torch.where(x[:, 3:4] > 0, x, -x)


def tiled(x: Tensor) -> Tensor:
    return x.repeat(1, 2)[:, 2:8]


def diagonal(x: Tensor) -> Tensor:
    return (x[:, :, None] * x[:, None]).diagonal(1, 1, 2)


def transposed_grid(x: Tensor) -> Tensor:
    return x + x.view(-1, 2, 3).transpose(1, 2).flatten(1)


def without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x.cumsum(1)


def normal_statistics(x: Tensor) -> Tensor:
    return torch.native_layer_norm(x, [6], None, None, 1e-5)[1] * x


def median(x: Tensor) -> Tensor:
    return x - x.median(1, keepdim=True).values


def strided(x: Tensor) -> Tensor:
    return x.as_strided((len(x), 6), (6, 1)).tanh()


def softmax_of_two(x: Tensor) -> Tensor:
    return x.view(-1, 3, 2).softmax(-1).flatten(1)


#: name -> middle; its units are not all exchangeable
def taken_by_known_numbers(x: Tensor) -> Tensor:
    return x[:, [0, 2, 2, 5, 1]]


def shifted_by_known_numbers(x: Tensor) -> Tensor:
    return x + x[:, [1, 2, 3, 4, 5, 0]]


def three_of_six(x: Tensor) -> Tensor:
    return x * x[:, [0, 1, 2]].exp().sum(1, keepdim=True)


def one_twice(x: Tensor) -> Tensor:
    return x * x[:, [0, 1, 2, 3, 4, 5, 5]].exp().sum(1, keepdim=True)


def the_last_by_number(x: Tensor) -> Tensor:
    return x * x[:, [-1]].exp()


def added_to_itself(x: Tensor) -> Tensor:
    return x.index_add(1, torch.tensor([0]), x[:, 1:2])


CAREFUL: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    middle.__name__: (middle, width)
    for middle, width in [
        (alone, 6), (selected, 6), (restacked, 6), (uneven_sum, 6), (halves_differ, 6), (part_of_a_grid, 6), (pooled, 3), (windowed, 4), (padded, 6),
        (summed_up, 6), (by_rank, 6), (largest, 6), (weighted_by_place, 6), (looked_up, 6), (gathered, 6), (scattered, 6), (written_into, 6),
        (written_through_a_view, 6), (triangular, 6), (mirrored, 6), (rolled, 6), (against_itself, 6), (spectrum, 4), (complex_pairs, 6),
        (one_compared, 6), (normal_statistics, 6), (median, 6), (strided, 6), (tiled, 6), (diagonal, 5),
        (transposed_grid, 6), (without_gradients, 6), (softmax_of_two, 6),
        (masked, 6), (halves_joined, 6),
        (taken_by_known_numbers, 5), (shifted_by_known_numbers, 6), (three_of_six, 6), (one_twice, 6), (the_last_by_number, 6), (added_to_itself, 6),
    ]
}  # fmt: skip

#: all six units are exchangeable
FREE: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda x: x,
    "stacked_and_summed": lambda x: torch.stack([x, x.tanh()]).sum(0),
    "rows_by_known_numbers": lambda x: x[[1, 0, 2]],
    "rows_added": lambda x: torch.zeros_like(x).index_add(0, torch.tensor([0, 0, 1, 2, 3]), x.tanh()),
    "padded_time": lambda x: functional.pad(x[:, None], (0, 0, 1, 1)).sum(1),
    "expanded": lambda x: x[:, None].expand(-1, 3, -1).mean(1),
    "normalised": lambda x: functional.normalize(x, dim=-1),
    "minus_mean": lambda x: x - x.mean(-1, keepdim=True),
    "own_median": lambda x: x[:, None].median(1).values,
    "where": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "hardswish": functional.hardswish,
    "added_products": lambda x: torch.addcmul(x, x, x.tanh()),
    "einsum_of_three": lambda x: torch.einsum("ni,ni,ni->ni", x, x.tanh(), x),
    "time_summed": lambda x: x[:, None].repeat(1, 3, 1).cumsum(1)[:, -1],
    "time_looked_up": lambda x: x[:, None].repeat(1, 3, 1)[:, torch.tensor([2])].squeeze(1),
    "similar": lambda x: x * functional.cosine_similarity(x, x.tanh(), dim=-1)[:, None],
    "distant": lambda x: x * torch.cdist(x, x.tanh()).mean(-1, keepdim=True),
    "largest_two": lambda x: torch.maximum(x, x.neg()),
    "spread": lambda x: x / torch.var_mean(x, -1, keepdim=True)[0],
}
