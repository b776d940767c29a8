"""Small networks whose units may, or may not, be scaled."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Body(nn.Module):
    """A module made of parts and a function of (parts, x)."""

    def __init__(self, run, **parts: object) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def residual() -> nn.Module:
    def run(m, x):
        x = functional.max_pool2d(m.a(x).relu(), 2)
        return m.head((x + m.c(m.b(x).relu())).relu().mean((2, 3)))

    convs = {name: nn.Conv2d(i, 6, 3, padding=1) for name, i in (("a", 1), ("b", 6), ("c", 6))}
    return Body(run, **convs, head=nn.Linear(6, 3))


def flattened() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 5), nn.LeakyReLU(), nn.Linear(5, 2))


def joined() -> nn.Module:
    def run(m, x):
        return m.d(torch.cat([m.g(x).relu(), m.k(x).tanh()], -1))

    return Body(run, g=nn.Linear(3, 6), k=nn.Linear(3, 4), d=nn.Linear(10, 2))


#: name -> (network, shape of its input, spaces that scale)
SCALING = {
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2)), (4, 3), {"layer.0", "layer.2"}),
    "linear": (lambda: nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), (4, 3), {"layer.0"}),
    "residual": (residual, (2, 1, 8, 8), {"a", "b"}),
    "flattened": (flattened, (2, 1, 8, 8), {"layer.0", "layer.4"}),
    "joined": (joined, (2, 3), {"g"}),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose1d(2, 4, 3), nn.ReLU(), nn.ConvTranspose1d(4, 2, 2)), (1, 2, 5), {"layer.0"}),
    "dropout": (lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 2)), (4, 3), {"layer.0"}),
}


def _prelu(m, x):
    return m.d(m.p(m.g(x)))


def _plus_one(m, x):
    return m.d(m.g(x).relu() + 1.0)


def _plus_number(m, x):
    return m.d(m.g(x).relu() + m.w)


def _plus_row(m, x):
    return m.d(m.g(x).relu() + m.row(x))


def _tied(m, x):
    return m.g(x).relu() @ m.g.weight


def _summed(m, x):
    return m.d(x) + m.g(x).relu().sum(-1, keepdim=True)


def _largest(m, x):
    return m.d(x) + m.g(x).relu().amax(-1, keepdim=True)


def _products(m, x):
    h = m.g(x).relu()
    return m.d(h) + (h @ m.k(x).relu().T).mean(-1, keepdim=True)


def _padded(m, x):
    return m.d(functional.pad(m.g(x).relu(), (1, 1), value=0.5))


def _late(m, x):
    """The flattened channels get a bias of their own, then a curve."""
    return m.d(functional.gelu(m.g(x).relu().flatten(1) + m.w))


def _masked(m, x):
    h = m.g(x)
    return m.d(h.masked_fill(h < 0, -0.1))


def _weighted(m, x):
    return m.d(x) + m.g(x).relu() @ m.g.weight.abs()


def _linear3(**more: object) -> dict[str, object]:
    return {"g": nn.Linear(3, 6), "d": nn.Linear(6, 2), **more}


#: name -> (network, shape of its input): not all of these may be scaled, and what may must keep the function
TRAPS = {
    "a slope for every unit": (lambda: Body(_prelu, **_linear3(p=nn.PReLU(6))), (4, 3)),
    "plus one": (lambda: Body(_plus_one, **_linear3()), (4, 3)),
    "plus a stored number": (lambda: Body(_plus_number, **_linear3(w=nn.Parameter(torch.tensor(0.7)))), (4, 3)),
    "plus the same for all": (lambda: Body(_plus_row, **_linear3(row=nn.Linear(3, 1))), (4, 3)),
    "one tensor in and out": (lambda: Body(_tied, g=nn.Linear(3, 6)), (4, 3)),
    "sum over units": (lambda: Body(_summed, g=nn.Linear(3, 6), d=nn.Linear(3, 2)), (4, 3)),
    "largest unit": (lambda: Body(_largest, g=nn.Linear(3, 6), d=nn.Linear(3, 2)), (4, 3)),
    "inner products": (lambda: Body(_products, **_linear3(k=nn.Linear(3, 6))), (4, 3)),
    "gelu": (lambda: nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)), (4, 3)),
    "depthwise": (lambda: nn.Sequential(nn.Conv1d(2, 4, 1), nn.ReLU(), nn.Conv1d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv1d(4, 2, 1)), (2, 2, 7)),
    "groups": (lambda: nn.Sequential(nn.Conv1d(2, 4, 1), nn.ReLU(), nn.Conv1d(4, 6, 3, groups=2), nn.ReLU(), nn.Conv1d(6, 2, 1)), (2, 2, 7)),
    "padded with a number": (lambda: Body(_padded, g=nn.Conv1d(2, 4, 1), d=nn.Conv1d(4, 2, 3)), (2, 2, 7)),
    "a bias after flattening": (lambda: Body(_late, g=nn.Conv1d(2, 4, 1), d=nn.Linear(28, 2), w=nn.Parameter(torch.randn(28))), (2, 2, 7)),
    "filled with a number": (lambda: Body(_masked, **_linear3()), (4, 3)),
    "weights made of weights": (lambda: Body(_weighted, g=nn.Linear(3, 6), d=nn.Linear(3, 3)), (4, 3)),
    "batch norm": (lambda: nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)), (4, 3)),
    "group norm": (lambda: nn.Sequential(nn.Linear(3, 6), nn.GroupNorm(2, 6), nn.ReLU(), nn.Linear(6, 2)), (4, 3)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), (2, 4, 8)),
    "bilinear": (lambda: Body(lambda m, x: m.d(m.b(x, x).relu()), b=nn.Bilinear(3, 3, 5), d=nn.Linear(5, 2)), (4, 3)),
}


def drawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in float64 and evaluation mode with every stored number drawn anew, variances positive."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
            if name.endswith("running_var"):
                tensor.abs_().add_(0.1)
    return model
