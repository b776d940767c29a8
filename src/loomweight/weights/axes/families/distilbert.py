"""DistilBERT."""

from .attention import Attention
from .config import Config, per_head


def distilbert(config: Config) -> str:
    """The table."""
    heads = config.number("n_heads", "num_attention_heads")
    at = Attention("@transformer.layer.*.attention", heads, per_head(config, config.number("dim", "hidden_size"), heads), heads)
    hidden = "residual" if config.tied(True) else "vocab_transform"
    return f"""\
{at.spaces}
@embeddings.word_embeddings.weight : _ {"<-" if config.tied(True) else ""} residual
@embeddings.position_embeddings.weight : _ residual
@embeddings.position_ids : ...
@embeddings.LayerNorm.weight : residual
@embeddings.LayerNorm.bias : residual
@transformer.layer.*.attention.q_lin.weight : {at.q} <- residual
@transformer.layer.*.attention.q_lin.bias : {at.q}
@transformer.layer.*.attention.k_lin.weight : {at.k} <- residual
@transformer.layer.*.attention.k_lin.bias : {at.k}
@transformer.layer.*.attention.v_lin.weight : {at.v} <- residual
@transformer.layer.*.attention.v_lin.bias : {at.v}
@transformer.layer.*.attention.out_lin.weight : residual <- {at.o}
@transformer.layer.*.attention.out_lin.bias : residual
@transformer.layer.*.sa_layer_norm.weight : residual
@transformer.layer.*.sa_layer_norm.bias : residual
@transformer.layer.*.ffn.lin1.weight : @transformer.layer.*.ffn <- residual
@transformer.layer.*.ffn.lin1.bias : @transformer.layer.*.ffn
@transformer.layer.*.ffn.lin2.weight : residual <- @transformer.layer.*.ffn
@transformer.layer.*.ffn.lin2.bias : residual
@transformer.layer.*.output_layer_norm.weight : residual
@transformer.layer.*.output_layer_norm.bias : residual
vocab_transform.weight : {hidden} <- residual
vocab_transform.bias : {hidden}
vocab_layer_norm.weight : {hidden}
vocab_layer_norm.bias : {hidden}
vocab_projector.weight : _ <- {hidden}
vocab_projector.bias : _
pre_classifier.weight : pre_classifier <- residual
pre_classifier.bias : pre_classifier
classifier.weight : _ <- {"pre_classifier" if config.architecture.endswith("SequenceClassification") or config.has("pre_classifier") else "residual"}
classifier.bias : _
qa_outputs.weight : _ <- residual
qa_outputs.bias : _
"""
