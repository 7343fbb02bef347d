"""Mixed precision: bfloat16 products; parameters, optimizer, softmax and loss in float32."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from tests.helpers import VOCAB_SIZE
from tests.test_step import config_with, example_batch, random_ids
from transformer.config import MeshConfig
from transformer.sharding import make_mesh
from transformer.training.step import make_init, make_train_step


def training(dtype):
    config = config_with(model={"dtype": dtype, "dropout_rate": 0.1}, ema_decay=0.9)
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    init, shardings = make_init(config, VOCAB_SIZE, mesh)
    return init(), make_train_step(config, VOCAB_SIZE, mesh, shardings)


def batch(seed):
    """The task of copying: rows of different length, other ones for each `seed`."""
    rows = example_batch()
    ids = random_ids(seed, *rows.target_out.shape)
    target_in = jnp.concatenate([jnp.ones((len(ids), 1), jnp.int32), ids[:, :-1]], axis=1)
    source = jnp.concatenate([ids, jnp.full((len(ids), 1), 2)], axis=1)
    return rows._replace(source=source, target_in=target_in, target_out=ids)


def test_fifty_steps_in_both_precisions_stay_within_one_percent():
    curves = []
    for dtype in ("float32", "bfloat16"):
        state, step = training(dtype)
        losses = []
        for number in range(50):
            state, metrics = step(state, batch(number))
            losses.append(float(metrics.loss))
        curves.append(losses)
    full, half = map(np.array, curves)
    assert full[-5:].mean() < 0.9 * full[0]
    assert (full != half).any()
    np.testing.assert_allclose(half, full, rtol=0.01)


def equations(jaxpr):
    """All of a program, those of its loops and inner functions included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: isinstance(p, ClosedJaxpr | Jaxpr)
        ):
            if isinstance(inner, ClosedJaxpr | Jaxpr):
                yield from equations(getattr(inner, "jaxpr", inner))


def test_what_stays_in_float32():
    state, step = training("bfloat16")
    for leaf in jax.tree.leaves((state.params, state.opt_state, state.ema)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    after, metrics = jax.eval_shape(step.func, *step.args, state, batch(0))
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)
    assert all(value.dtype == jnp.float32 for value in metrics)

    found = list(equations(step.func.trace(*step.args, state, batch(0)).jaxpr))
    dtypes = {}
    for equation in found:
        kinds = {v.aval.dtype for v in equation.invars if hasattr(v.aval, "dtype")}
        dtypes.setdefault(equation.primitive.name, set()).update(kinds)
    half = jnp.dtype(jnp.bfloat16)
    assert half in dtypes["dot_general"]
    for name in ("exp", "log", "rsqrt", "sqrt", "reduce_max", "reduce_sum", "scatter-add"):
        assert half not in dtypes[name], name
    # Scores, logits, and the gradient of the output matrix, which is added up over chunks.
    wide = [
        equation
        for equation in found
        if equation.primitive.name == "dot_general"
        and equation.invars[0].aval.dtype == half
        and equation.outvars[0].aval.dtype == jnp.float32
    ]
    assert len(wide) >= 5
