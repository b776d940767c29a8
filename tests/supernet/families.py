"""Small models of every family, each with a space of every kind that it has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Family:
    """A model that is built anew each time, what it takes, what of its output counts, and what may vary."""

    build: Callable[[], nn.Module]
    example: Any
    space: str
    outputs: Callable[[Any], Any] | None = None

    def made(self) -> nn.Module:
        """The same weights each time; BatchNorm layers have seen something."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = self.build()
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.uniform_(module.running_mean)
                    nn.init.uniform_(module.running_var, 0.5, 2)
                    nn.init.uniform_(module.weight, 0.5, 2)
            return model

    def run(self, model: nn.Module) -> Tensor:
        """The output that counts."""
        out = model(**self.example) if isinstance(self.example, dict) else model(self.example)
        return self.outputs(out) if self.outputs else out


class Block(nn.Module):
    """A residual block with two convolutions."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.norm2 = nn.Conv2d(inner, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))).relu()


class ResNet(nn.Module):
    """Two stages of residual blocks, with a projection between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.stage1 = nn.Sequential(Block(8, 6), Block(8, 6), Block(8, 6))
        self.down = nn.Conv2d(8, 12, 1, stride=2)
        self.stage2 = nn.Sequential(Block(12, 10), Block(12, 10))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(self.norm(self.stem(x)).relu())
        return self.head(self.stage2(self.down(x)).mean((2, 3)))


class Inverted(nn.Module):
    """A block of MobileNet: wide, depthwise, narrow again."""

    def __init__(self, width: int, inner: int, kernel: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(inner, inner, kernel, padding=kernel // 2, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.Hardswish())
        self.project = nn.Sequential(nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.depthwise(self.expand(x)))


class MobileNet(nn.Module):
    """A stem, two blocks, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, stride=2)
        self.blocks = nn.ModuleList([Inverted(6, 12, 5), Inverted(6, 12, 7)])
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


class Branching(nn.Module):
    """A path that depends on data, which fx cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.small, self.large, self.out = nn.Linear(4, 10), nn.Linear(10, 10), nn.Linear(10, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inward(x).relu()
        x = self.small(x).tanh() if x.mean() > 1e9 else self.large(x).relu()
        return self.out(x)


class Encoder(nn.Module):
    """torch's own encoder between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(13, 12)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 4, 20, dropout=0.0, batch_first=True), 3, enable_nested_tensor=False)
        self.head = nn.Linear(12, 3)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.head(self.encoder(self.words(numbers)))


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2)
    return LlamaForCausalLM(config)


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=23, n_positions=8, n_embd=12, n_layer=2, n_head=3, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=23, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=16, max_position_embeddings=8, num_labels=3
    )
    return BertForSequenceClassification(config)


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=16, image_size=8, patch_size=4, num_labels=3)
    return ViTForImageClassification(config)


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 5, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 16, 10),
        nn.Linear(10, 4),
    )


def logits(out: Any) -> Any:
    return out.logits


IDS = {"input_ids": torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])}

FAMILIES: dict[str, Family] = {
    "cnn": Family(cnn, drawn(2, 3, 8, 8), "width 0 : 4 8\nwidth 3 : 3 6 12\nwidth 6 : 5 10\nkernel 3 : 3 5\nbits 6 : 4 32"),
    "resnet": Family(
        ResNet,
        drawn(2, 3, 8, 8),
        """
        width stem : 4 8
        width down : 6 12
        width stage*.*.conv1 : 0.5 1.0
        depth stage1 : 1 2 3
        depth stage2 : 1 2
        stride down : 1 2
        resolution : 6 8
        """,
    ),
    "mobilenet": Family(
        MobileNet,
        drawn(2, 3, 8, 8),
        """
        width stem : 3 6
        width blocks.* : 4 8 12
        kernel blocks.0.* : 3 5
        kernel blocks.1.* : 3 5 7
        depth blocks : 1 2
        """,
    ),
    "encoder": Family(
        Encoder,
        torch.tensor([[1, 2, 3, 4]]),
        """
        embedding words : 6 12
        heads encoder.* : 2 4
        head_size encoder.* : 2 3
        width encoder.layers.*.linear1 : 10 20
        depth encoder.layers : 1 2 3
        """,
    ),
    "branching": Family(Branching, drawn(5, 4), "width inward : 5 10\nwidth large : 4 10"),
    "llama": Family(
        llama,
        IDS,
        """
        embedding model.embed_tokens : 8 16
        heads * : 1 2
        queries * : 1 2
        width *.mlp : 12 24
        depth model.layers : 1 2 3 spread
        """,
        logits,
    ),
    "gpt2": Family(gpt2, IDS, "embedding transformer.wte : 6 12\nheads * : 1 3\nwidth *.mlp : 24 48\ndepth transformer.h : 1 2", logits),
    "bert": Family(
        bert,
        IDS,
        """
        embedding *.word_embeddings : 6 12
        heads * : 1 3
        head_size * : 2 4
        width *.intermediate : 8 16
        depth bert.encoder.layer : 1 2
        """,
        logits,
    ),
    "vit": Family(vit, drawn(2, 3, 8, 8), "width * : 0.5 1.0\nheads * : 1 3\nhead_size * : 2 4\ndepth vit.layers : 1 2", logits),
}
