"""The scale of attention is of the size of a head, however many heads there are."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from loomweight.supernet import elastic


@pytest.mark.filterwarnings("ignore:the config of the exported model cannot say")
def test_fewer_heads_leave_the_scale_of_attention() -> None:
    """Two of four heads of size 8: GPT-2's `scaling`, 1 / sqrt(8), is no size of the heads' number, although numbers fit."""
    torch.manual_seed(0)
    ids = torch.randint(0, 11, (1, 4))
    model = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=32, n_layer=1, n_head=4, bos_token_id=0, eos_token_id=0)).eval()
    net = elastic(model, "heads transformer.h.* : 2 4", {"input_ids": ids}, outputs=lambda out: out.logits)
    attention = net.export(net.min()).transformer.h[0].attn
    assert (attention.num_heads, attention.scaling) == (2, 8**-0.5)
