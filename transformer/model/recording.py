"""What a forward pass computes on its way: attention weights and hidden states.

    hidden, recording = record(Transformer.__call__, model, source, ...)
    memory, recording = record(Transformer.encode, model, source, segments)
    logits, cache, recording = record_step(model, tokens, positions, cache, context)

The modules sow these arrays (`flax.nnx.Module.sow`) while a static attribute of theirs,
`recording`, is on. It is on within these functions only: no other program holds a trace of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from transformer.model.encoder_decoder import DecodingCache, DecodingContext, Transformer


class Recording(NamedTuple):
    """Of one pass; a list is empty where its part of the model did not run.

    Attention weights are the softmax of equation 1, float32, before anything is dropped; a query's
    are 0 where it may not attend, and uniform where it may attend nothing (a row of padding).
    States are the stream x between the layers, in the dtype of the model: first the embedded tokens
    with their positions, then what each layer gives. Pre-norm's last layer norm comes after them.
    """

    encoder_attention: list[Float[Array, "B H S S"]]  # a layer
    decoder_attention: list[Float[Array, "B H T T"]]
    cross_attention: list[Float[Array, "B H T S"]]
    encoder_states: list[Float[Array, "B S D"]]  # N + 1
    decoder_states: list[Float[Array, "B T D"]]


def record(
    run: Callable[..., Any], model: Transformer, *arguments: Any, **options: Any
) -> tuple[Any, Recording]:
    """What `run(model, *arguments, **options)` gives, and what `model` computed for it.

    Inside `jax.jit` the model must be merged inside, too. `run` calls each part of the model at
    most once. Fused attention and rematerialisation, which keep no weights, are not used: the plain
    formula gives the same numbers to rounding.
    """
    model.set_attributes(recording=True)
    try:
        result, sown = nnx.capture(run, nnx.Intermediate)(model, *arguments, **options)
    finally:
        model.set_attributes(recording=False)
    sown = nnx.to_pure_dict(sown)

    def attention(stack: str, kind: str) -> list[Array]:
        layers = sown.get(stack, {})
        return [layers[n][kind]["weights"][0] for n in sorted(layers) if kind in layers[n]]

    return result, Recording(
        attention("encoder", "self_attention"),
        attention("decoder", "self_attention"),
        attention("decoder", "cross_attention"),
        list(sown.get("encoder_states", ())),
        list(sown.get("decoder_states", ())),
    )


def record_step(
    model: Transformer,
    tokens: Int[Array, "B W"],
    positions: Int[Array, "B"],
    cache: DecodingCache,
    context: DecodingContext,
) -> tuple[Float[Array, "B W V"], DecodingCache, Recording]:
    """`Transformer.decode_step`, and what it computed.

    W hypotheses stand where a pass over whole sentences has T positions. Their self-attention is
    [B H W T] over the T columns of the cache: step t stands in column t mod T, whichever
    hypothesis took it. The cache is one without `room`, which keeps all steps.
    """
    (logits, new), recording = record(
        Transformer.decode_step, model, tokens, positions, cache, context
    )
    batch, beams, length = cache.ancestors.shape

    # Of the W places of a step a hypothesis sees one at most; at the others its weight is 0.
    def by_step(weights: Float[Array, "B H W TW"]) -> Float[Array, "B H W T"]:
        return jnp.sum(weights.reshape(batch, -1, beams, length, beams), axis=-1)

    own = [by_step(weights) for weights in recording.decoder_attention]
    return logits, new, recording._replace(decoder_attention=own)
