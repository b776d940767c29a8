"""Small networks of every kind that `axes` knows, with an input for each."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from loomweight.weights import Weights
from loomweight.weights.axes import Axes, axes

IDS = {"input_ids": torch.arange(5)[None]}


class Grouped(nn.Module):
    """Depthwise and grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
        self.c, self.d = nn.Conv2d(8, 12, 3, groups=4), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x)).relu()).relu().mean((2, 3)))


class Residual(nn.Module):
    """A stem, two blocks on one stream, batch normalization; a projection to a second stream; flattened into the head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(6, 7, 3, padding=1), nn.BatchNorm2d(7), nn.ReLU(), nn.Conv2d(7, 6, 1)) for _ in range(2))
        self.skip, self.body = nn.Conv2d(6, 9, 1), nn.Conv2d(6, 9, 3, padding=1)
        self.head = nn.Linear(9 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        for block in self.blocks:
            x = x + block(x)
        x = (self.skip(x) + self.body(x)).relu()
        return self.head(nn.functional.adaptive_max_pool2d(x, 2).flatten(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]) -> None:
        super().__init__()
        self.cells, self.out = kind(3, 5, 2, bidirectional=True, batch_first=True), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cells(x)[0])


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def seeded_mlp(seed: int, *widths: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return mlp(*widths)


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": 11, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "max_position_embeddings": 16}
    return LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=8, num_key_value_heads=2, head_dim=6, use_cache=False))


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=17, n_positions=8, n_embd=16, n_layer=2, n_head=4, use_cache=False, bos_token_id=0, eos_token_id=0))


def _bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    shape = {"vocab_size": 17, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20}
    return BertModel(BertConfig(**shape, max_position_embeddings=8))


def _vit() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=20, image_size=8, patch_size=4))


def _t5() -> nn.Module:
    from transformers import T5Config, T5Model

    return T5Model(T5Config(vocab_size=17, d_model=16, d_kv=4, d_ff=20, num_layers=2, num_heads=3, use_cache=False, dropout_rate=0.0))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "mlp": (lambda: mlp(3, 8, 9, 2), torch.ones(1, 3)),
    "grouped": (Grouped, torch.ones(1, 3, 9, 9)),
    "residual": (Residual, torch.ones(2, 3, 8, 8)),
    "rnn": (lambda: Recurrent(nn.RNN), torch.ones(1, 4, 3)),
    "lstm": (lambda: Recurrent(nn.LSTM), torch.ones(1, 4, 3)),
    "gru": (lambda: Recurrent(nn.GRU), torch.ones(1, 4, 3)),
    "encoder": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False), torch.ones(1, 5, 8)),
    "llama": (_llama, IDS),
    "gpt2": (_gpt2, IDS),
    "bert": (_bert, IDS),
    "vit": (_vit, {"pixel_values": torch.ones(1, 3, 8, 8)}),
    "t5": (_t5, {**IDS, "decoder_input_ids": IDS["input_ids"]}),
}


def made(name: str, seed: int) -> nn.Module:
    """A network of a kind; all its vectors (biases, norms) random too, as after training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = NETWORKS[name][0]().eval()
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def weights(name: str, seed: int = 0) -> Weights:
    return Weights.of({key: tensor.clone() for key, tensor in made(name, seed).state_dict().items()})


@cache
def table(name: str) -> Axes:
    return axes(made(name, 0), NETWORKS[name][1])
