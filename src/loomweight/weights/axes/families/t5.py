"""T5, its version 1.1 and mT5: all blocks of a stack share the relative positions of its first one, so they share the order of heads."""

from .attention import Attention
from .config import Config


def t5(config: Config) -> str:
    """The table."""
    tied = config.tied(True)
    parts = [f"{name} : _ {'<-' if tied else ''} residual" for name in ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")]
    parts += [_attention(config, "encoder", 0, "SelfAttention"), _mlp("encoder", 1)]
    parts += [_attention(config, "decoder", 0, "SelfAttention"), _attention(config, "decoder", 1, "EncDecAttention"), _mlp("decoder", 2)]
    parts += [f"{stack}.final_layer_norm.weight : residual" for stack in ("encoder", "decoder")]
    return "\n".join([*parts, "lm_head.weight : _ <- residual"])


def _attention(config: Config, stack: str, number: int, kind: str) -> str:
    heads = config.number("num_heads")
    at = f"{stack}.block.*.layer.{number}.{kind}"
    a = Attention(at, heads, config.number("d_kv"), heads, heads_at=f"{stack}.heads" if kind == "SelfAttention" else "")
    return f"""\
{a.spaces}
{at}.q.weight : {a.q} <- residual
{at}.k.weight : {a.k} <- residual
{at}.v.weight : {a.v} <- residual
{at}.o.weight : residual <- {a.o}
{at}.relative_attention_bias.weight : _ {f"{stack}.heads" if heads > 1 else "_"}
{stack}.block.*.layer.{number}.layer_norm.weight : residual"""


def _mlp(stack: str, number: int) -> str:
    at = f"{stack}.block.*.layer.{number}"
    made = "".join(f"{at}.DenseReluDense.{name}.weight : {at}.mlp <- residual\n" for name in ("wi", "wi_0", "wi_1"))
    return f"{made}{at}.DenseReluDense.wo.weight : residual <- {at}.mlp\n{at}.layer_norm.weight : residual"
