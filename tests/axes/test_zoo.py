"""Every kind of layer: the table is what a person would write, the proof passes, and a wrong line fails."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter
from loomweight.weights.axes import Axes, axes, table_for, verify
from loomweight.weights.memory import from_module

from .zoo import ZOO

#: what can be exchanged, thought out by hand
SPACES = {
    "mlp": "layer.0 = 8; layer.2 = 5",
    "conv1d": "layer.0 = 5; layer.4 = 4",
    "conv2d": "layer.0 = 5; layer.4 = 7",
    "conv3d": "layer.0 = 4; layer.3 = 3",
    "groups": "layer.0.groups = 4; layer.0 = 2; layer.2.dims = 3 in layer.0.groups",
    "depthwise": "layer.0 = 6",
    "multiplied": "layer.0 = 6; layer.1.dims = 2 in layer.0",
    "transposed": "layer.0 = 6; layer.2.groups = 2; layer.4 = 4; layer.2.dims = 2 in layer.2.groups",
    "tied": "down = 6; up = 9",
    "bags": "bag = 6",
    "group_norm": "layer.0.groups = 4; layer.0.dims = 2 in layer.0.groups",
    "instance_norm": "layer.0 = 8",
    "layer_norm": "layer.0 = 8",
    "rms_norm": "layer.0 = 8",
    "weight_norm": "0.parametrizations.weight = 6",
    "residual": "stem = 6; conv1 = 5",
    "dense": "a = 4; b = 3; c = 5",
    "unet": "down1 = 4; down2 = 6; up = 3; join = 5",
    "gated": "both = 6",
    "parts": "both = 4; both_2 = 8",
    "lstm": "rnn = 6; rnn_2 = 6",
    "lstm_both_ways": "rnn = 6; rnn_2 = 6; rnn_3 = 6; rnn_4 = 6",
    "lstm_projected": "rnn = 6; rnn_2 = 4; rnn_3 = 6; rnn_4 = 4",
    "last_state": "rnn = 6; rnn_2 = 6; rnn_3 = 6; rnn_4 = 6",
    "gru": "rnn = 6; rnn_2 = 6",
    "gru_both_ways": "rnn = 6; rnn_2 = 6",
    "rnn": "rnn = 6",
    "lstm_cell": "cell = 6",
    "gru_cell": "cell = 6",
    "rnn_cell": "cell = 6",
    "pixels": "layer.0 = 6; layer.2 = 5",
    "unshuffled": "layer.0 = 6",
    "glu": "layer.0 = 6",
    "prelu": "layer.0 = 6; layer.2 = 4",
    "upsampled": "layer.0 = 6; layer.2 = 4",
    "reflected": "layer.0 = 6; layer.2 = 4",
    "unfolded": "layer.0 = 6",
    "excited": "a = 8; squeeze = 3",
    "mixer": "inward = 8; places1 = 7; units1 = 9",
    "two_factors": "a = 4; b = 6; both = 5",
    "by_hand": "q.heads = 3; q.dims = 4 in q.heads; v.dims = 4 in q.heads",
    "fused": "e = 12; qkv.heads = 3; qkv.dims = 4 in qkv.heads; qkv.values = 4 in qkv.heads",
    "grouped": "q.heads = 3; q.queries = 2 in q.heads; q.dims = 4 in q.heads; v.dims = 4 in q.heads",
    "grouped_built_in": "q.heads = 3; q.queries = 2 in q.heads; q.dims = 4 in q.heads; v.dims = 4 in q.heads",
    "rotary": "q.heads = 3; q.queries = 2 in q.heads; v.dims = 4 in q.heads",
    "rotary_pairs": "q.heads = 3; q.queries = 2 in q.heads; v.dims = 4 in q.heads",
    "linear_attention": "q = 8; v = 6",
    "mha_other_widths": "e = 8; mha.heads = 2; ek = 6; ev = 7; mha.dims = 4 in mha.heads; mha.values = 4 in mha.heads",
    **dict.fromkeys(
        ("mha", "mha_time_first", "mha_bias", "mha_zero", "mha_weights"), "e = 8; mha.heads = 2; mha.dims = 4 in mha.heads; mha.values = 4 in mha.heads"
    ),
    **dict.fromkeys(
        ("encoder", "encoder_norm_first"),
        "e = 8; t.layers.*.self_attn.heads = 2; t.layers.*.linear1 = 16; t.layers.*.self_attn.dims = 4 in t.layers.*.self_attn.heads;"
        " t.layers.*.self_attn.values = 4 in t.layers.*.self_attn.heads",
    ),
    "decoder": "e = 6; d = 8; t.layers.0.self_attn.heads = 2; t.layers.0.multihead_attn.heads = 2; t.layers.0.linear1 = 16;"
    " t.layers.0.self_attn.dims = 4 in t.layers.0.self_attn.heads; t.layers.0.self_attn.values = 4 in t.layers.0.self_attn.heads;"
    " t.layers.0.multihead_attn.dims = 4 in t.layers.0.multihead_attn.heads; t.layers.0.multihead_attn.values = 4 in t.layers.0.multihead_attn.heads",
}
#: lines that say more than the spaces do
LINES = {
    "conv2d": ["4.weight : layer.4 <- (layer.0 16)"],
    "groups": ["2.weight : (layer.0.groups layer.2.dims) <- layer.0 3 3", "0.weight : (layer.0.groups layer.0) <- 3 1 1"],
    "depthwise": ["3.weight : layer.0 1 3 3", "1.running_var : layer.0"],
    "transposed": ["2.weight : layer.0 -> (layer.2.groups layer.2.dims) 2 2", "4.weight : (layer.2.groups layer.2.dims) -> layer.4 2 2"],
    "tied": ["words.weight : 11 <- down", "head.weight : 11 <- down"],
    "dense": ["head.weight : 2 <- (a + b + c)", "norm.running_mean : (a + b)"],
    "unet": ["join.weight : join <- (down1 + up) 3 3"],
    "gated": ["both.weight : (2 both) <- 3"],
    "parts": ["both.weight : (both + both_2) <- 3"],
    "lstm": ["rnn.weight_hh_l0 : (4 rnn) <- rnn", "rnn.weight_ih_l1 : (4 rnn_2) <- rnn"],
    "lstm_projected": ["rnn.weight_hh_l0 : (4 rnn) <- rnn_2", "rnn.weight_hr_l0 : rnn_2 <- rnn"],
    "gru_both_ways": ["out.weight : 2 <- (rnn + rnn_2)"],
    "gru_cell": ["cell.weight_hh : (3 cell) <- cell"],
    "pixels": ["2.weight : (layer.2 4) <- layer.0 3 3"],
    "unshuffled": ["2.weight : 2 <- (layer.0 4) 1 1"],
    "glu": ["0.weight : (2 layer.0) <- 3"],
    "by_hand": ["q.weight : (q.heads q.dims) <- 5", "v.weight : (q.heads v.dims) <- 5", "o.weight : 5 <- (q.heads v.dims)"],
    "fused": ["qkv.weight : (2 qkv.heads qkv.dims + qkv.heads qkv.values) <- e", "o.weight : e <- (qkv.heads qkv.values)"],
    "grouped": ["q.weight : (q.heads q.queries q.dims) <- 5", "k.weight : (q.heads q.dims) <- 5", "o.weight : 5 <- (q.heads q.queries v.dims)"],
    "rotary": ["q.weight : (q.heads q.queries 4) <- 5", "k.weight : (q.heads 4) <- 5", "v.weight : (q.heads v.dims) <- 5"],
    "mha": ["mha.in_proj_weight : (2 mha.heads mha.dims + mha.heads mha.values) <- e"],
    "mha_bias": ["mha.bias_k : 1 1 (mha.heads mha.dims)"],
    "mha_other_widths": ["mha.k_proj_weight : (mha.heads mha.dims) <- ek", "mha.v_proj_weight : (mha.heads mha.values) <- ev"],
    "encoder": ["t.layers.*.norm1.weight : e", "t.layers.*.linear2.weight : e <- t.layers.*.linear1"],
}
every = pytest.mark.parametrize("name", ZOO)


@contextmanager
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@cache
def found(name: str) -> tuple[nn.Module, Any, Axes]:
    """The network with no weight or statistic at its default, its example and its table."""
    build, example = ZOO[name]
    with seeded():
        model = build().eval()
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.data += torch.rand(tensor.shape) * 0.3
        return model, example, axes(model, example)


@every
def test_the_spaces_are_those_that_a_person_sees(name: str) -> None:
    """Which of them scale is shown by the proof."""
    spaces = [line.removesuffix(" scales") for line in str(found(name)[2]).splitlines() if " = " in line]
    assert spaces == [line.strip() for line in SPACES[name].split(";")]


@pytest.mark.parametrize("name", LINES)
def test_the_lines_are_those_that_a_person_writes(name: str) -> None:
    text = str(found(name)[2]).splitlines()
    assert not [line for line in LINES[name] if line not in text]


@every
def test_the_proof_passes(name: str) -> None:
    model, example, table = found(name)
    moved = verify(table, model, example, seed=1)
    assert set(moved) == {*table.spaces, "all together", *(["all scaled"] if any(space.scales for space in table.spaces.values()) else [])}
    assert max(moved.values()) < 1e-10
    assert not table.notes
    assert table.how == "torch.export"


@every
def test_the_text_says_all_of_it(name: str) -> None:
    model, _, table = found(name)
    read = table_for(str(table), from_module(model))
    assert read == table
    assert str(read).splitlines() == [line for line in str(table).splitlines() if not line.startswith("#")]


@every
def test_a_wrong_line_fails(name: str) -> None:
    """For every space: leave it out of one of the tensors that have it."""
    model, example, table = found(name)
    for space in table.spaces:
        where = [use for use in table.uses(space) if len(table.layouts[use.tensor].axes) > 1][-1]  # a bias of keys is none: softmax takes it out
        layout = table.layouts[where.tensor]
        axis = tuple(tuple(table.spaces[f].size if f == space else f for f in term) for term in layout.axes[where.axis])  # type: ignore[index]
        wrong = dataclasses.replace(layout, axes=(*layout.axes[: where.axis], axis, *layout.axes[where.axis + 1 :]))
        if any(child in factors for child in table.children(space) for factors in axis):
            continue
        with pytest.raises(BadParameter, match="the axes table is wrong"):
            verify(Axes({**table.spaces}, {**table.layouts, where.tensor: wrong}), model, example, seed=3)


def test_every_network_is_told_about() -> None:
    assert set(SPACES) == set(ZOO)
    assert set(LINES) <= set(ZOO)
