"""Floating-point operations of the model's matrix products, worked out from their shapes.

The product of an [m n] and an [n p] matrix takes m n p multiplications and as many additions:
2 m n p operations. Nothing else is counted: softmax, layer norm, activations and the look-up of
embeddings cost a few operations a number, where a product costs hundreds. Neither is padding,
nor what rematerialisation computes again: it is what the model needs, not what a device does.
"""

from transformer.config import ModelConfig


def forward_flops(
    config: ModelConfig, vocab_size: int, source_length: int | float, target_length: int | float
) -> int | float:
    """Operations of one forward pass over a sentence pair, logits of every position included.

    Args:
      config: with d_k and d_v given, as `transformer.config.from_dict` leaves them.
      vocab_size: V, rows of the pre-softmax layer.
      source_length: S, tokens of the source sentence with its end token.
      target_length: T, likewise.

    Lengths may be means over many pairs. The result is linear in them but for Q K^T and the
    weighted sum of V, which cost S S, T T and T S: means underrate these, by the (co)variance of
    the lengths. Causal attention counts in full, for it is computed in full and then masked.
    """
    encoder_layer = _attention(config, source_length, source_length) + _feed_forward(
        config, source_length
    )
    decoder_layer = (
        _attention(config, target_length, target_length)
        + _attention(config, target_length, source_length)
        + _feed_forward(config, target_length)
    )
    logits = 2 * target_length * config.d_model * vocab_size
    return config.num_layers * (encoder_layer + decoder_layer) + logits


def training_flops(
    config: ModelConfig, vocab_size: int, source_length: int | float, target_length: int | float
) -> int | float:
    """Operations of a forward and a backward pass: three times `forward_flops`.

    Each product Y = X W has two in the backward pass, one for the gradient of X and one for W's.
    """
    return 3 * forward_flops(config, vocab_size, source_length, target_length)


def _attention(config: ModelConfig, queries: int | float, keys: int | float) -> int | float:
    """Section 3.2.2: W^Q and W^O at each query, W^K and W^V at each key, then equation 1."""
    widths = config.num_heads * (config.d_k + config.d_v)
    projections = (queries + keys) * config.d_model * widths
    return 2 * (projections + queries * keys * widths)


def _feed_forward(config: ModelConfig, length: int | float) -> int | float:
    """Equation 2: W1 and W2 at each position."""
    return 2 * length * 2 * config.d_model * config.d_ff
