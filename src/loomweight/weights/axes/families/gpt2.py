"""GPT-2: learned positions; weights are stored (in, out), queries, keys and values in one."""

from .attention import Attention, axis
from .config import Config, per_head


def gpt2(config: Config) -> str:
    """The table."""
    heads = config.number("n_head", "num_attention_heads")
    at = Attention("@h.*.attn", heads, per_head(config, config.number("n_embd", "hidden_size"), heads), heads)
    queries, values = axis("2", *at.q.strip("()").split()), at.v.strip("()")
    fused = f"({queries.strip('()')} + {values})"
    return f"""\
{at.spaces}
@wte.weight : _ {"<-" if config.tied(True) else ""} residual
@wpe.weight : _ residual
@h.*.ln_1.weight : residual
@h.*.ln_1.bias : residual
@h.*.attn.c_attn.weight : residual -> {fused}
@h.*.attn.c_attn.bias : {fused}
@h.*.attn.c_proj.weight : {at.o} -> residual
@h.*.attn.c_proj.bias : residual
@h.*.attn.bias : ...
@h.*.attn.masked_bias : ...
@h.*.ln_2.weight : residual
@h.*.ln_2.bias : residual
@h.*.mlp.c_fc.weight : residual -> @h.*.mlp
@h.*.mlp.c_fc.bias : @h.*.mlp
@h.*.mlp.c_proj.weight : @h.*.mlp -> residual
@h.*.mlp.c_proj.bias : residual
@ln_f.weight : residual
@ln_f.bias : residual
lm_head.weight : _ <- residual
score.weight : _ <- residual
classifier.weight : _ <- residual
classifier.bias : _
"""
