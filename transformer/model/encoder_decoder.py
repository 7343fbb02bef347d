"""The encoder-decoder Transformer of Figure 1.

    model = Transformer(config, vocab_size, nnx.Rngs(0))
    graphdef, params = split(model)                  # once; params is a plain nested dict
    hidden = nnx.merge(graphdef, params)(...)        # inside a pure function under jit

Dropout is on where a `dropout_key` is passed; no module holds random state.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from transformer.config import ModelConfig
from transformer.model.attention import (
    CachedKeysValues,
    KeysValues,
    MultiHeadAttention,
)
from transformer.model.decoding_cache import RECENT, DecodingCache
from transformer.model.dropout import Seed, dropout, make_seeds, split_seed
from transformer.model.initial import Rngs
from transformer.model.layers import (
    Embedding,
    FeedForward,
    LayerNorm,
    Positions,
    Residual,
)
from transformer.model.visibility import Visibility
from transformer.model.weights import parameter, read
from transformer.sharding import constrain, platform

# Matrices of narrower models are packed in no time, and for fewer hypotheses no product is long.
_TURNED_WIDTH = 512  # d_model
_TURNED_ROWS = 8  # hypotheses


class EncoderLayer(nnx.Module):
    """The left grey box of Figure 1."""

    def __init__(self, config: ModelConfig, rngs: Rngs):
        self.self_attention = MultiHeadAttention(config, rngs)
        self.self_attention_residual = Residual(config, rngs)
        self.feed_forward = FeedForward(config, rngs)
        self.feed_forward_residual = Residual(config, rngs)

    def __call__(
        self,
        x: Float[Array, "B S D"],
        visible: Visibility,
        seed: Seed | None = None,
    ) -> Float[Array, "B S D"]:
        """Self-attention, then feed-forward."""
        attend, add_attended, feed, add_fed = split_seed(seed, 4)
        with jax.named_scope("self_attention"):
            y = self.self_attention_residual.enter(x)
            y = self.self_attention(y, self.self_attention.keys_values(y), visible, attend)
            x = self.self_attention_residual.leave(x, y, add_attended)
        with jax.named_scope("feed_forward"):
            y = self.feed_forward(self.feed_forward_residual.enter(x), feed)
            return self.feed_forward_residual.leave(x, y, add_fed)


class DecoderLayer(nnx.Module):
    """The right grey box of Figure 1."""

    def __init__(self, config: ModelConfig, rngs: Rngs):
        self.self_attention = MultiHeadAttention(config, rngs)
        self.self_attention_residual = Residual(config, rngs)
        self.cross_attention = MultiHeadAttention(config, rngs)
        self.cross_attention_residual = Residual(config, rngs)
        self.feed_forward = FeedForward(config, rngs)
        self.feed_forward_residual = Residual(config, rngs)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        memory: KeysValues,
        visible: Visibility,
        visible_memory: Visibility,
        seed: Seed | None = None,
    ) -> Float[Array, "B T D"]:
        """Masked self-attention, attention over the encoder's output, feed-forward."""
        attend, add_attended, attend_memory, add_memory, feed, add_fed = split_seed(seed, 6)
        with jax.named_scope("self_attention"):
            y = self.self_attention_residual.enter(x)
            y = self.self_attention(y, self.self_attention.keys_values(y), visible, attend)
            x = self.self_attention_residual.leave(x, y, add_attended)
        with jax.named_scope("cross_attention"):
            y = self.cross_attention_residual.enter(x)
            y = self.cross_attention(y, memory, visible_memory, attend_memory)
            x = self.cross_attention_residual.leave(x, y, add_memory)
        with jax.named_scope("feed_forward"):
            y = self.feed_forward(self.feed_forward_residual.enter(x), feed)
            return self.feed_forward_residual.leave(x, y, add_fed)

    def step(
        self,
        x: Float[Array, "B W D"],
        place: Int[Array, ""],
        cache: CachedKeysValues,
        self_mask: Bool[Array, "B 1 W TW"],
        memory: CachedKeysValues,
        memory_mask: Bool[Array, "B 1 1 S"],
    ) -> tuple[Float[Array, "B W D"], CachedKeysValues]:
        """The same for one new position of W hypotheses a sentence, which `cache` then holds."""
        with jax.named_scope("self_attention"):
            y = self.self_attention_residual.enter(x)
            cache = cache.write(place, self.self_attention.keys_values(y))
            y = self.self_attention.step(y, cache, self_mask)
            x = self.self_attention_residual.leave(x, y)
        with jax.named_scope("cross_attention"):
            y = self.cross_attention_residual.enter(x)
            y = self.cross_attention.step(y, memory, memory_mask)
            x = self.cross_attention_residual.leave(x, y)
        with jax.named_scope("feed_forward"):
            y = self.feed_forward(self.feed_forward_residual.enter(x))
            return self.feed_forward_residual.leave(x, y), cache


class DecodingContext(NamedTuple):
    """What every decoding step reads and none changes; leading axis B, never repeated for beams."""

    memory: list[CachedKeysValues]  # a layer
    memory_mask: Bool[Array, "B 1 1 S"]


class Transformer(nnx.Module):
    """Encoder, decoder, embeddings and the pre-softmax layer."""

    def __init__(self, config: ModelConfig, vocab_size: int, rngs: Rngs):
        self.config = config
        self.vocab_size = vocab_size
        # One module for each matrix there is: shared ones are read through source_embedding and
        # output_embedding, for NNX must not meet the same variable under two names.
        self.target_embedding = Embedding(config, vocab_size, rngs)
        self.own_source_embedding = (
            None if config.tie_embeddings == "all" else Embedding(config, vocab_size, rngs)
        )
        self.own_output_embedding = (
            Embedding(config, vocab_size, rngs) if config.tie_embeddings == "none" else None
        )
        self.output_bias = (
            parameter(nnx.initializers.zeros_init(), rngs, (vocab_size,), ("vocab",))
            if config.output_bias
            else None
        )
        self.source_positions = Positions(config, rngs)
        self.target_positions = Positions(config, rngs)
        self.encoder = nnx.List([EncoderLayer(config, rngs) for _ in range(config.num_layers)])
        self.decoder = nnx.List([DecoderLayer(config, rngs) for _ in range(config.num_layers)])
        # Pre-norm leaves the stream itself unnormalised at the end of a stack.
        pre = config.norm == "pre"
        self.encoder_norm = LayerNorm(config, rngs) if pre else None
        self.decoder_norm = LayerNorm(config, rngs) if pre else None
        self.recording = False  # see transformer.model.recording

    @property
    def source_embedding(self) -> Embedding:
        """The encoder's embedding, the target's own where all are tied."""
        return self.own_source_embedding or self.target_embedding

    @property
    def output_embedding(self) -> Embedding:
        """The pre-softmax layer, the target embedding unless nothing is tied."""
        return self.own_output_embedding or self.target_embedding

    def __call__(
        self,
        source: Int[Array, "B S"],
        source_segments: Int[Array, "B S"],
        target: Int[Array, "B T"],
        target_segments: Int[Array, "B T"],
        source_positions: Int[Array, "B S"] | None = None,
        target_positions: Int[Array, "B T"] | None = None,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """The decoder's output for the decoder inputs `target`; `logits` makes scores of it.

        Segments number the sentences of a row from 1; 0 is padding. Positions are given for
        packed rows only, and restart with each sentence.
        """
        encode_key, decode_key = (
            (None, None) if dropout_key is None else jax.random.split(dropout_key)
        )
        memory = self.encode(source, source_segments, source_positions, encode_key)
        if target_positions is None:
            # Padding follows the sentence, so that no real position could see it.
            visible = Visibility(causal=True)
            visible_memory = Visibility(source_segments)
        else:
            visible = Visibility(target_segments, target_segments, causal=True)
            visible_memory = Visibility(source_segments, target_segments)
        return self.decode(target, memory, visible, visible_memory, target_positions, decode_key)

    @jax.named_scope("encoder")
    def encode(
        self,
        source: Int[Array, "B S"],
        source_segments: Int[Array, "B S"],
        source_positions: Int[Array, "B S"] | None = None,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B S D"]:
        """The encoder's output. Positions are given for packed rows only."""
        queries = None if source_positions is None else source_segments
        visible = Visibility(source_segments, queries)
        embed_seed, *layer_seeds = make_seeds(dropout_key, 1 + len(self.encoder))
        with jax.named_scope("embedding"):
            x = self.source_embedding(source)
            x = self._add_positions(x, self.source_positions, source_positions, embed_seed)
        self._record("encoder_states", x)
        for i, (layer, layer_seed) in enumerate(zip(self.encoder, layer_seeds, strict=True)):
            with jax.named_scope(f"layer_{i}"):
                x = self._run(layer, x, visible, layer_seed)
            self._record("encoder_states", x)
        return x if self.encoder_norm is None else self.encoder_norm(x)

    @jax.named_scope("decoder")
    def decode(
        self,
        target: Int[Array, "B T"],
        memory: Float[Array, "B S D"],
        visible: Visibility,
        visible_memory: Visibility,
        target_positions: Int[Array, "B T"] | None = None,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """The decoder's output at every position of `target`, which begins with BOS."""
        embed_seed, *layer_seeds = make_seeds(dropout_key, 1 + len(self.decoder))
        with jax.named_scope("embedding"):
            x = self.target_embedding(target)
            x = self._add_positions(x, self.target_positions, target_positions, embed_seed)
        self._record("decoder_states", x)
        for i, (layer, layer_seed) in enumerate(zip(self.decoder, layer_seeds, strict=True)):
            with jax.named_scope(f"layer_{i}"):
                with jax.named_scope("cross_attention"):
                    keys_values = layer.cross_attention.keys_values(memory)
                x = self._run(layer, x, keys_values, visible, visible_memory, layer_seed)
            self._record("decoder_states", x)
        return x if self.decoder_norm is None else self.decoder_norm(x)

    @jax.named_scope("logits")
    def logits(self, x: Float[Array, "*B T D"]) -> Float[Array, "*B T V"]:
        """Unnormalised log-probabilities of the next token, float32."""
        logits = self.output_embedding.logits(x)
        return logits if self.output_bias is None else logits + read(self.output_bias, jnp.float32)

    @jax.named_scope("decoder")
    def decoding_context(
        self, memory: Float[Array, "B S D"], source_segments: Int[Array, "B S"]
    ) -> DecodingContext:
        """Cross-attention keys and values, computed once."""
        return DecodingContext(
            [
                CachedKeysValues.of(layer.cross_attention.keys_values(memory))
                for layer in self.decoder
            ],
            Visibility(source_segments).mask(1),
        )

    def empty_cache(
        self, batch_size: int, beam_size: int, max_length: int, room: int | None = None
    ) -> DecodingCache:
        """For B sentences with W hypotheses of at most T tokens.

        With `room` a sentence has so many places for what is older than a few steps, and may be
        `lost`; by default it has as many as it can need.
        """
        recent, room = (max_length, 0) if room is None else (RECENT, room)
        leading, places = (batch_size, self.config.num_heads), room + recent * beam_size
        dtype = jnp.dtype(self.config.dtype)
        empty = CachedKeysValues(
            jnp.zeros((*leading, self.config.d_k, places), dtype),
            jnp.zeros((*leading, places, self.config.d_v), dtype),
        )
        return DecodingCache(
            layers=[empty] * len(self.decoder),
            kept=jnp.zeros((batch_size, beam_size, room), bool),
            ancestors=jnp.full((batch_size, beam_size, recent), -1, jnp.int32),
            lost=jnp.zeros(batch_size, bool),
            steps=jnp.zeros((), jnp.int32),
            positions=jnp.asarray(self.target_positions(max_length), dtype),
        )

    def prepare_steps(self, hypotheses: int) -> None:
        """Lays weights out as `decode_step` reads them fastest, before many steps of so many."""
        wide = self.config.d_model >= _TURNED_WIDTH
        if platform() == "cpu" and wide and hypotheses >= _TURNED_ROWS:
            for layer in self.decoder:
                for part in (layer.self_attention, layer.cross_attention, layer.feed_forward):
                    part.turn()

    @jax.named_scope("decoder")
    def decode_step(
        self,
        tokens: Int[Array, "B W"],
        positions: Int[Array, "B"],
        cache: DecodingCache,
        context: DecodingContext,
    ) -> tuple[Float[Array, "B W V"], DecodingCache]:
        """Logits of the token after `tokens`, which stand at `positions` (BOS at 0), all below T.

        A sentence's positions must be those since its cache was empty.
        """
        cache = cache.settle()
        beams, recent = cache.ancestors.shape[1:]
        with jax.named_scope("embedding"):
            x = self.target_embedding(tokens)
            x = x + cache.positions[positions][:, None]
        self._record("decoder_states", x)
        column = cache.steps % recent
        new = jnp.where(jnp.arange(recent) == column, jnp.arange(beams)[:, None], cache.ancestors)
        cache = cache._replace(ancestors=new)
        mask = cache.own()[:, None]
        place = cache.kept.shape[2] + column * beams
        layers = []
        stack = zip(self.decoder, cache.layers, context.memory, strict=True)
        for i, (layer, past, memory) in enumerate(stack):
            with jax.named_scope(f"layer_{i}"):
                x, past = layer.step(x, place, past, mask, memory, context.memory_mask)
            layers.append(past)
            self._record("decoder_states", x)
        x = x if self.decoder_norm is None else self.decoder_norm(x)
        return self._next_logits(x), cache._replace(layers=layers, steps=cache.steps + 1)

    def reorder(self, cache: DecodingCache, parents: Int[Array, "B W"]) -> DecodingCache:
        """Gives hypothesis w the past of hypothesis `parents[w]`."""
        return cache.reorder(parents)

    def forget(self, cache: DecodingCache, rows: Int[Array, "M"]) -> DecodingCache:
        """Takes their past from all hypotheses of the sentences `rows`."""
        return cache.forget(rows)

    def lost(self, cache: DecodingCache) -> Bool[Array, "B"]:
        """Which sentences had no room for all of their past."""
        return cache.lost

    @jax.named_scope("logits")
    def _next_logits(self, x: Float[Array, "B W D"]) -> Float[Array, "B W V"]:
        """`logits` for a reader that takes the vocabulary first, as beam search does."""
        logits = self.output_embedding.logits_vocabulary_first(x)
        if self.output_bias is not None:
            logits += read(self.output_bias, jnp.float32)[:, None, None]
        return jnp.moveaxis(logits, 0, -1)

    def _add_positions(self, x, encoding, positions, seed):
        """Section 5.4: dropout is applied to the sums of embeddings and positions."""
        table = jnp.asarray(encoding(x.shape[1]), x.dtype)
        x = x + (table if positions is None else jnp.take(table, positions, axis=0))
        x = constrain(x, "batch", None, None)
        return dropout(x, self.config.dropout_rate, seed)

    def _run(self, layer, *arguments):
        if self.recording:  # what is sown stays with the module
            x = layer(*arguments)
        else:
            run = jax.checkpoint(_run_layer, static_argnums=0) if self.config.remat else _run_layer
            x = run(*nnx.split(layer), *arguments)
        return constrain(x, "batch", None, None)

    def _record(self, name, x):
        """Adds to the arrays under `name`, where someone asks for them."""
        if self.recording:
            self.sow(nnx.Intermediate, name, x)


@partial(jax.jit, static_argnums=0)
def _run_layer(graphdef, state, *arguments):
    """Layers are alike: with a jit of its own JAX traces and differentiates one of them for all."""
    return nnx.merge(graphdef, state)(*arguments)


def split(model: nnx.Module) -> tuple[nnx.GraphDef, dict[str, Any]]:
    """The model's structure, and its parameters as a nested dict of plain float32 arrays.

    `nnx.merge(graphdef, params)` is its inverse. Plain dicts keep jit's argument handling short,
    and checkpoints readable without Flax.
    """
    graphdef, state = nnx.split(model, nnx.Param)
    return graphdef, nnx.to_pure_dict(state)


def logical_axes(model: Transformer) -> dict[str, Any]:
    """For each parameter, in the nesting of `split`'s dict, the names of its axes."""
    _, state = nnx.split(model, nnx.Param)
    named = jax.tree.map(
        lambda variable: variable.get_metadata()["logical_axes"],
        state,
        is_leaf=lambda leaf: isinstance(leaf, nnx.Variable),
    )
    return nnx.to_pure_dict(named)
