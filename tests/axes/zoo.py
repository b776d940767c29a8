"""Small networks of every kind, each with an example of its input."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import ATTENTION

Built = tuple[Callable[[], nn.Module], Any]


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def row(*layers: nn.Module) -> Callable[[], nn.Module]:
    import copy

    return lambda: copy.deepcopy(nn.Sequential(*layers))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.up, self.down, self.norm = nn.Embedding(11, 6), nn.Linear(6, 9), nn.Linear(9, 6), nn.LayerNorm(6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, numbers: Tensor) -> Tensor:
        x = self.words(numbers)
        return self.head(self.norm(x + self.down(functional.gelu(self.up(x)))))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Linear(6, 2)
        self.conv1, self.norm1 = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.conv2, self.norm2 = nn.Conv2d(5, 6, 3, padding=1), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.head((x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))).relu().mean((2, 3)))


class Dense(nn.Module):
    """Every layer sees what all before it made."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(7, 5, 1)
        self.norm, self.head = nn.BatchNorm2d(7), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x).relu()
        ab = torch.cat([a, self.b(a).relu()], 1)
        return self.head(torch.cat([ab, self.c(self.norm(ab)).relu()], 1).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.up = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.ConvTranspose2d(6, 3, 2, stride=2)
        self.join, self.out = nn.Conv2d(7, 5, 3, padding=1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        near = self.down1(x).relu()
        far = self.down2(functional.max_pool2d(near, 2)).relu()
        return self.out(self.join(torch.cat([near, self.up(far)], 1)).relu())


class Gated(nn.Module):
    """Both halves from one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down = nn.Linear(3, 12), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.both(x).chunk(2, -1)
        return self.down(functional.silu(gate) * value)


class Parts(nn.Module):
    """Two layers in one, of different size."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.small, self.large = nn.Linear(3, 12), nn.Linear(4, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.both(x).split([4, 8], -1)
        return self.small(a.tanh()) + self.large(b.exp())


class Recurrent(nn.Module):
    def __init__(self, make: Callable[..., nn.Module], width: int = 6, **settings: Any) -> None:
        super().__init__()
        self.rnn, self.out = make(3, 6, batch_first=True, **settings), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


class LastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(3, 6, 2, bidirectional=True), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, cell) = self.rnn(x)
        return self.out(torch.cat([hidden[-1], cell[-2]], -1))


class Stepped(nn.Module):
    """A cell in a Python loop."""

    def __init__(self, make: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.cell, self.out = make(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.out(state[0] if isinstance(state, tuple) else state)


class Excited(nn.Module):
    """Squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.squeeze, self.excite, self.out = nn.Conv2d(2, 8, 1), nn.Linear(8, 3), nn.Linear(3, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        return self.out(x * self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None])


class Mixer(nn.Module):
    """Positions are mixed by layers, too."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.norm, self.out = nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 2)
        self.places1, self.places2, self.units1, self.units2 = nn.Linear(4, 7), nn.Linear(7, 4), nn.Linear(8, 9), nn.Linear(9, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inward(x)
        x = x + self.places2(self.places1(self.norm(x).transpose(1, 2)).relu()).transpose(1, 2)
        return self.out((x + self.units2(self.units1(x).relu())).mean(1))


class TwoFactors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.both, self.out = nn.Linear(3, 4), nn.Linear(3, 6), nn.Bilinear(4, 6, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.both(self.a(x), self.b(x)))


class Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.out = nn.EmbeddingBag(9, 6, mode="sum"), nn.Linear(6, 2)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.out(self.bag(numbers).tanh())


ZOO: dict[str, Built] = {
    "mlp": (row(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 2)), drawn(4, 3)),
    "conv1d": (row(nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(5, 4, 2),
        nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(8, 2)), drawn(2, 2, 16)),
    "conv2d": (row(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(80, 7), nn.ReLU(), nn.Linear(7, 2)), drawn(2, 2, 8, 8)),
    "conv3d": (row(nn.Conv3d(1, 4, 2), nn.ReLU(), nn.AvgPool3d(2), nn.Conv3d(4, 3, 1), nn.Flatten(), nn.Linear(24, 2)), drawn(2, 1, 5, 5, 5)),
    "groups": (row(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=4), nn.ReLU(), nn.Conv2d(12, 2, 1)), drawn(2, 3, 6, 6)),
    "depthwise": (row(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Hardswish(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU6(), nn.Conv2d(6, 2, 1)), drawn(2, 3, 8, 8)),
    "multiplied": (row(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 12, 3, groups=6), nn.ReLU(), nn.Conv2d(12, 2, 1)), drawn(2, 3, 8, 8)),
    "transposed": (row(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 4, 2, stride=2), nn.ReLU(),
        nn.ConvTranspose2d(4, 8, 2, groups=2), nn.ReLU(), nn.Conv2d(8, 1, 1)), drawn(2, 2, 6, 6)),
    "tied": (Tied, torch.tensor([[1, 2, 3]])),
    "bags": (Bags, torch.tensor([[1, 2, 3], [4, 5, 8]])),
    "group_norm": (row(nn.Conv2d(2, 8, 1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 2, 1)), drawn(2, 2, 4, 4)),
    "instance_norm": (row(nn.Conv2d(2, 8, 1), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), nn.Conv2d(8, 2, 1)), drawn(2, 2, 4, 4)),
    "layer_norm": (row(nn.Linear(3, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2)), drawn(4, 3)),
    "rms_norm": (row(nn.Linear(3, 8), nn.RMSNorm(8), nn.ReLU(), nn.Linear(8, 2)), drawn(4, 3)),
    "weight_norm": (row(nn.utils.parametrizations.weight_norm(nn.Linear(3, 6)), nn.ReLU(), nn.Linear(6, 2)), drawn(4, 3)),
    "residual": (Residual, drawn(2, 3, 6, 6)),
    "dense": (Dense, drawn(2, 2, 5, 5)),
    "unet": (UNet, drawn(1, 1, 8, 8)),
    "gated": (Gated, drawn(4, 3)),
    "parts": (Parts, drawn(4, 3)),
    "lstm": (lambda: Recurrent(nn.LSTM, num_layers=2), drawn(2, 4, 3)),
    "lstm_both_ways": (lambda: Recurrent(nn.LSTM, 12, num_layers=2, bidirectional=True), drawn(2, 4, 3)),
    "lstm_projected": (lambda: Recurrent(nn.LSTM, 4, num_layers=2, proj_size=4), drawn(2, 4, 3)),
    "last_state": (LastState, drawn(2, 4, 3)),
    "gru": (lambda: Recurrent(nn.GRU, num_layers=2), drawn(2, 4, 3)),
    "gru_both_ways": (lambda: Recurrent(nn.GRU, 12, bidirectional=True), drawn(2, 4, 3)),
    "rnn": (lambda: Recurrent(nn.RNN, nonlinearity="relu", bias=False), drawn(2, 4, 3)),
    "lstm_cell": (lambda: Stepped(nn.LSTMCell), drawn(2, 4, 3)),
    "gru_cell": (lambda: Stepped(nn.GRUCell), drawn(2, 4, 3)),
    "rnn_cell": (lambda: Stepped(nn.RNNCell), drawn(2, 4, 3)),
    "pixels": (row(nn.Conv2d(1, 6, 1), nn.ReLU(), nn.Conv2d(6, 20, 3, padding=1), nn.PixelShuffle(2), nn.ReLU(), nn.Conv2d(5, 1, 1)), drawn(1, 1, 4, 4)),
    "unshuffled": (row(nn.Conv2d(1, 6, 1), nn.PixelUnshuffle(2), nn.Conv2d(24, 2, 1)), drawn(1, 1, 4, 4)),
    "glu": (row(nn.Linear(3, 12), nn.GLU(), nn.Linear(6, 2)), drawn(4, 3)),
    "prelu": (row(nn.Linear(3, 6), nn.PReLU(6), nn.Linear(6, 4), nn.PReLU(), nn.Linear(4, 2)), drawn(4, 3)),
    "upsampled": (row(nn.Conv2d(1, 6, 1), nn.Upsample(scale_factor=2), nn.Conv2d(6, 4, 1),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 2, 1)), drawn(1, 1, 4, 4)),
    "reflected": (row(nn.Conv2d(1, 6, 1), nn.ReflectionPad2d(1), nn.Conv2d(6, 4, 3), nn.ConstantPad2d(1, 0.5), nn.Conv2d(4, 2, 1)), drawn(1, 1, 4, 4)),
    "unfolded": (row(nn.Conv2d(1, 6, 1), nn.Unfold(2), nn.Conv1d(24, 2, 1)), drawn(1, 1, 4, 4)),
    "excited": (Excited, drawn(2, 2, 4, 4)),
    "mixer": (Mixer, drawn(2, 4, 5)),
    "two_factors": (TwoFactors, drawn(4, 3)),
    **ATTENTION,
}  # fmt: skip
