"""Llama, Mistral, Qwen 2 and 3, Gemma: decoders with rotary positions, gated MLPs and grouped queries."""

from .attention import Attention
from .config import Config, per_head


def llama(config: Config, tied: bool = False) -> str:
    """The table; `tied` is what this family does where the config does not say."""
    heads = config.number("num_attention_heads")
    size = config.number("head_dim", default=0) or per_head(config, config.number("hidden_size"), heads)
    attention = Attention("@layers.*.self_attn", heads, size, config.number("num_key_value_heads", default=heads), rotary=True)
    return f"""\
{attention.spaces}
@embed_tokens.weight : _ {"<-" if config.tied(tied) else ""} residual
@layers.*.self_attn.q_proj.weight : {attention.q} <- residual
@layers.*.self_attn.q_proj.bias : {attention.q}
@layers.*.self_attn.k_proj.weight : {attention.k} <- residual
@layers.*.self_attn.k_proj.bias : {attention.k}
@layers.*.self_attn.v_proj.weight : {attention.v} <- residual
@layers.*.self_attn.v_proj.bias : {attention.v}
@layers.*.self_attn.o_proj.weight : residual <- {attention.o}
@layers.*.self_attn.o_proj.bias : residual
@layers.*.self_attn.q_norm.weight : _
@layers.*.self_attn.k_norm.weight : _
@layers.*.mlp.gate_proj.weight : @layers.*.mlp <- residual
@layers.*.mlp.gate_proj.bias : @layers.*.mlp
@layers.*.mlp.up_proj.weight : @layers.*.mlp <- residual
@layers.*.mlp.up_proj.bias : @layers.*.mlp
@layers.*.mlp.down_proj.weight : residual <- @layers.*.mlp
@layers.*.mlp.down_proj.bias : residual
@layers.*.input_layernorm.weight : residual
@layers.*.post_attention_layernorm.weight : residual
@layers.*.pre_feedforward_layernorm.weight : residual
@layers.*.post_feedforward_layernorm.weight : residual
@layers.*.self_attn.rotary_emb.inv_freq : _
@norm.weight : residual
lm_head.weight : _ <- residual
score.weight : _ <- residual
score.bias : _
"""


def gemma(config: Config) -> str:
    """The same, tied if the config does not say."""
    return llama(config, tied=True)
