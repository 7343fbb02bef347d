"""The state of a training run and the pure functions that advance and judge it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, UInt32

from transformer.config import Config, ModelConfig
from transformer.data.batching import Batch
from transformer.model.encoder_decoder import Transformer, logical_axes, split
from transformer.model.initial import draw, outline
from transformer.model.weights import read
from transformer.sharding import (
    batch_sharding,
    batch_shards,
    platform,
    replicated,
    shape_template,
    tree_shardings,
)
from transformer.training.compiler import init_options, training_options
from transformer.training.loss import LossSums, cross_entropy
from transformer.training.optimizer import learning_rate, make_optimizer


class TrainState(NamedTuple):
    """All that changes in training, a plain pytree. Random keys follow from `step` alone."""

    step: Int[Array, ""]  # updates done
    params: dict[str, Any]
    opt_state: optax.OptState
    ema: dict[str, Any] | None  # moving average of the parameters, where it is on


class StepMetrics(NamedTuple):
    """Of one optimizer step; means are over the real target tokens of the global batch."""

    loss: Float[Array, ""]
    nll: Float[Array, ""]
    accuracy: Float[Array, ""]
    tokens: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]


def abstract_model(config: ModelConfig, vocab_size: int) -> Transformer:
    """The model without its numbers: structure, shapes and axis names."""
    return outline(partial(Transformer, config, vocab_size))


def decoding_params(state: TrainState) -> dict[str, Any]:
    """The weights to validate and translate with: the moving average where there is one."""
    return state.params if state.ema is None else state.ema


def make_init(config: Config, vocab_size: int, mesh: Mesh) -> tuple[Callable[[], TrainState], Any]:
    """A jitted function that makes step 0's state in place on the mesh, and its shardings."""
    optimizer = make_optimizer(config.training, config.model.d_model)
    seed = _seed(config)

    def init(seed: UInt32[Array, ""]) -> TrainState:
        model = draw(partial(Transformer, config.model, vocab_size), jax.random.key(seed))
        params = split(model)[1]
        ema = jax.tree.map(jnp.copy, params) if config.training.ema_decay else None
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), ema)

    shapes = jax.eval_shape(init, seed)
    axes = logical_axes(abstract_model(config.model, vocab_size))
    params = tree_shardings(mesh, axes, shapes.params)
    shardings = TrainState(
        step=replicated(mesh),
        params=params,
        opt_state=optax.tree.map_params(
            optimizer,
            lambda _, sharding: sharding,
            shapes.opt_state,
            params,
            transform_non_params=lambda _: replicated(mesh),
        ),
        ema=params if config.training.ema_decay else None,
    )
    jitted = jax.jit(init, out_shardings=shardings, compiler_options=init_options(mesh))
    return partial(jitted, seed), shardings


def state_template(init: Callable[[], TrainState], shardings: TrainState) -> TrainState:
    """The shapes of what `make_init` gave, each with its sharding; nothing is compiled."""
    # jax.eval_shape takes no function with compiler options, which each has only at the top.
    return shape_template(init.func.eval_shape(*init.args), shardings)


def _seed(config: Config) -> np.uint32:
    """An argument of compiled programs, not a part of them: another seed compiles nothing anew."""
    return np.uint32(config.seed % 2**32)


def batch_loss(
    graphdef: nnx.GraphDef,
    params: dict[str, Any],
    batch: Batch,
    label_smoothing: float = 0.0,
    dropout_key: Key[Array, ""] | None = None,
    shards: int = 1,
) -> LossSums:
    """Loss sums of one batch; without a `dropout_key` nothing is dropped."""
    model = nnx.merge(graphdef, params)
    hidden = model(
        batch.source,
        batch.source_segments,
        batch.target_in,
        batch.target_segments,
        batch.source_positions,
        batch.target_positions,
        dropout_key,
    )
    with jax.named_scope("loss"):
        matrix = read(model.output_embedding.matrix, hidden.dtype)
        if model.output_bias is not None:
            # A bias is the weight of an input that is always 1: the loss need not know of it.
            ones = jnp.ones((*hidden.shape[:-1], 1), hidden.dtype)
            hidden = jnp.concatenate([hidden, ones], -1)
            bias = read(model.output_bias, hidden.dtype)
            matrix = jnp.concatenate([matrix, bias[:, None]], -1)
        mask = batch.target_segments > 0
        return cross_entropy(hidden, matrix, batch.target_out, mask, label_smoothing, shards)


def make_train_step(
    config: Config, vocab_size: int, mesh: Mesh, shardings: TrainState
) -> Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]:
    """The jitted update. The state's buffers are donated.

    Loss and gradient are sums over all real target tokens of the global batch divided by their
    number, however the batch is cut over devices and micro-batches.
    """
    training = config.training
    graphdef = split(abstract_model(config.model, vocab_size))[0]
    optimizer = make_optimizer(training, config.model.d_model)
    schedule = learning_rate(training, config.model.d_model)

    def gradients(params, batch, key):
        def loss(params):
            shards = batch_shards(mesh)
            sums = batch_loss(graphdef, params, batch, training.label_smoothing, key, shards)
            return sums.loss, sums

        grads, sums = jax.grad(loss, has_aux=True)(params)
        return grads, sums

    def train_step(
        seed: UInt32[Array, ""], state: TrainState, batch: Batch
    ) -> tuple[TrainState, StepMetrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        grads, sums = _accumulate(gradients, state.params, batch, key, training.accumulate_steps)
        grads = jax.tree.map(lambda g: g / jnp.maximum(sums.tokens, 1), grads)
        if mesh.size > 1:
            # Once for all uses of a matrix: of a vocabulary that tensor does not divide, the
            # gradient is cut until here, and the stored matrix is not.
            grads = jax.lax.with_sharding_constraint(grads, shardings.params)
        with jax.named_scope("optimizer"):
            if platform(mesh) == "cpu":
                # No matrix is overwritten before the last product has read it, which XLA sees only
                # so: it would copy each of them.
                grads = jax.lax.optimization_barrier(grads)
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None:
            # Young averages follow faster, lest the initial weights weigh for long.
            with jax.named_scope("moving_average"):
                decay = jnp.minimum(training.ema_decay, (1 + state.step) / (10 + state.step))
                ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, params)
        with jax.named_scope("metrics"):
            tokens = jnp.maximum(sums.tokens, 1)
            metrics = StepMetrics(
                loss=sums.loss / tokens,
                nll=sums.nll / tokens,
                accuracy=sums.correct / tokens,
                tokens=sums.tokens,
                gradient_norm=optax.tree.norm(grads),
                learning_rate=schedule(state.step),
            )
        return TrainState(state.step + 1, params, opt_state, ema), metrics

    jitted = jax.jit(
        train_step,
        in_shardings=(replicated(mesh), shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=1,
        compiler_options=training_options(config.model, mesh),
    )
    return partial(jitted, _seed(config))


def _accumulate(gradients, params, batch: Batch, key, count: int):
    """Sums gradients and losses over `count` micro-batches, one after the other."""
    if count == 1:
        return gradients(params, batch, key)
    # Row r goes to micro-batch r mod count: every device keeps its share of rows in each.
    micro = jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 0, 1), batch
    )

    def body(total, inputs):
        index, part = inputs
        new = gradients(params, part, jax.random.fold_in(key, index))
        return jax.tree.map(jnp.add, total, new), None

    first = jax.tree.map(lambda x: x[0], micro)
    shapes = jax.eval_shape(gradients, params, first, key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = jax.lax.scan(body, zeros, (jnp.arange(count), micro))
    return total


def make_eval_step(
    config: Config, vocab_size: int, mesh: Mesh, shardings: TrainState
) -> Callable[[dict[str, Any], Batch], LossSums]:
    """The jitted sums of a validation batch: no dropout, no label smoothing."""
    graphdef = split(abstract_model(config.model, vocab_size))[0]

    def eval_step(params: dict[str, Any], batch: Batch) -> LossSums:
        return batch_loss(graphdef, params, batch, shards=batch_shards(mesh))

    return jax.jit(
        eval_step,
        in_shardings=(shardings.params, batch_sharding(mesh)),
        out_shardings=replicated(mesh),
    )
