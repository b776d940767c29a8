"""BERT and RoBERTa: encoders that normalise behind each block."""

from .attention import Attention
from .config import Config, per_head


def bert(config: Config) -> str:
    """BERT with its heads for words, sentences, tokens and spans."""
    hidden = "residual" if config.tied(True) else "cls.predictions.transform"
    return f"""\
{_body(config)}
cls.predictions.transform.dense.weight : {hidden} <- residual
cls.predictions.transform.dense.bias : {hidden}
cls.predictions.transform.LayerNorm.weight : {hidden}
cls.predictions.transform.LayerNorm.bias : {hidden}
cls.predictions.decoder.weight : _ <- {hidden}
cls.predictions.decoder.bias : _
cls.predictions.bias : _
cls.seq_relationship.weight : _ <- @pooler
cls.seq_relationship.bias : _
classifier.weight : _ <- {"@pooler" if _pooled(config) else "residual"}
classifier.bias : _
qa_outputs.weight : _ <- residual
qa_outputs.bias : _
"""


def roberta(config: Config) -> str:
    """RoBERTa with its heads."""
    hidden = "residual" if config.tied(True) else "lm_head.dense"
    return f"""\
{_body(config)}
lm_head.dense.weight : {hidden} <- residual
lm_head.dense.bias : {hidden}
lm_head.layer_norm.weight : {hidden}
lm_head.layer_norm.bias : {hidden}
lm_head.decoder.weight : _ <- {hidden}
lm_head.decoder.bias : _
lm_head.bias : _
classifier.dense.weight : classifier.dense <- residual
classifier.dense.bias : classifier.dense
classifier.out_proj.weight : _ <- classifier.dense
classifier.out_proj.bias : _
classifier.weight : _ <- {"@pooler" if _pooled(config) else "residual"}
classifier.bias : _
qa_outputs.weight : _ <- residual
qa_outputs.bias : _
"""


def _pooled(config: Config) -> bool:
    """True where the classifier reads the pooled first token."""
    if config.architecture:
        return config.architecture.endswith(("ForSequenceClassification", "ForMultipleChoice"))
    return config.has("pooler.")


def _body(config: Config) -> str:
    heads = config.number("num_attention_heads")
    at = Attention("@encoder.layer.*.attention", heads, per_head(config, config.number("hidden_size"), heads), heads)
    pooled = "_" if config.bare else "@pooler"
    return f"""\
{at.spaces}
@embeddings.word_embeddings.weight : _ {"<-" if config.tied(True) else ""} residual
@embeddings.position_embeddings.weight : _ residual
@embeddings.token_type_embeddings.weight : _ residual
@embeddings.position_ids : ...
@embeddings.token_type_ids : ...
@embeddings.LayerNorm.weight : residual
@embeddings.LayerNorm.bias : residual
@encoder.layer.*.attention.self.query.weight : {at.q} <- residual
@encoder.layer.*.attention.self.query.bias : {at.q}
@encoder.layer.*.attention.self.key.weight : {at.k} <- residual
@encoder.layer.*.attention.self.key.bias : {at.k}
@encoder.layer.*.attention.self.value.weight : {at.v} <- residual
@encoder.layer.*.attention.self.value.bias : {at.v}
@encoder.layer.*.attention.output.dense.weight : residual <- {at.o}
@encoder.layer.*.attention.output.dense.bias : residual
@encoder.layer.*.attention.output.LayerNorm.weight : residual
@encoder.layer.*.attention.output.LayerNorm.bias : residual
@encoder.layer.*.intermediate.dense.weight : @encoder.layer.*.intermediate <- residual
@encoder.layer.*.intermediate.dense.bias : @encoder.layer.*.intermediate
@encoder.layer.*.output.dense.weight : residual <- @encoder.layer.*.intermediate
@encoder.layer.*.output.dense.bias : residual
@encoder.layer.*.output.LayerNorm.weight : residual
@encoder.layer.*.output.LayerNorm.bias : residual
@pooler.dense.weight : {pooled} <- residual
@pooler.dense.bias : {pooled}"""
