"""ViT: under the names of its checkpoints, and under those that Transformers 5 gives the modules."""

from .attention import Attention
from .config import Config, per_head

#: stored -> in memory since Transformers 5
_NAMES = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def vit(config: Config) -> str:
    """The table."""
    heads = config.number("num_attention_heads")
    at = Attention("@layers.*.attention", heads, per_head(config, config.number("hidden_size"), heads), heads)
    axes = (
        f"{at.q} <- residual",
        f"{at.k} <- residual",
        f"{at.v} <- residual",
        f"residual <- {at.o}",
        "@layers.*.mlp <- residual",
        "residual <- @layers.*.mlp",
    )
    layers = [line for stored, words in zip(_NAMES, axes, strict=True) for line in _both(stored, words)]
    return "\n".join([at.spaces, _REST, *layers])


def _both(stored: str, words: str) -> list[str]:
    """The lines of a weight and its bias, under both names."""
    made = words.partition(" <- ")[0]
    named = [f"@encoder.layer.*.{stored}", f"@layers.*.{_NAMES[stored]}"]
    return [line for name in named for line in (f"{name}.weight : {words}", f"{name}.bias : {made}")]


_REST = """\
@embeddings.cls_token : 1 1 residual
@embeddings.mask_token : 1 1 residual
@embeddings.position_embeddings : 1 _ residual
@embeddings.patch_embeddings.projection.weight : residual <- _ _ _
@embeddings.patch_embeddings.projection.bias : residual
@encoder.layer.*.layernorm_before.weight : residual
@encoder.layer.*.layernorm_before.bias : residual
@encoder.layer.*.layernorm_after.weight : residual
@encoder.layer.*.layernorm_after.bias : residual
@layers.*.layernorm_before.weight : residual
@layers.*.layernorm_before.bias : residual
@layers.*.layernorm_after.weight : residual
@layers.*.layernorm_after.bias : residual
@layernorm.weight : residual
@layernorm.bias : residual
@pooler.dense.weight : _ <- residual
@pooler.dense.bias : _
classifier.weight : _ <- residual
classifier.bias : _"""
