"""The kernels against the plain formula: outputs and gradients, for all that is visible or not.

Splash attention runs in Pallas's interpreter, cuDNN's only where there is an NVIDIA GPU; elsewhere
XLA's implementation of the same function stands for it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.helpers import small_model
from transformer.config import MeshConfig
from transformer.errors import UserError
from transformer.model import attention, fused_attention
from transformer.model.visibility import Visibility
from transformer.sharding import RULES, make_mesh

ON_GPU = jax.default_backend() == "gpu"
B, H, T, S, K = 2, 2, 6, 10, 8
SOURCE = jnp.array([[1] * 7 + [0] * 3, [1] * 10])
PACKED = jnp.array([[1, 1, 2, 2, 2, 0], [1, 2, 2, 3, 3, 3]])
PACKED_SOURCE = jnp.array([[1, 1, 1, 2, 2, 0, 0, 0, 0, 0], [1, 1, 2, 3, 3, 3, 3, 3, 3, 0]])

CASES = {
    "encoder": (S, S, Visibility(SOURCE)),
    "decoder": (T, T, Visibility(causal=True)),
    "memory": (T, S, Visibility(SOURCE)),
    "packed": (T, T, Visibility(PACKED, PACKED, causal=True)),
    "packed_memory": (T, S, Visibility(PACKED_SOURCE, PACKED)),
    "packed_odd": (T - 1, S - 1, Visibility(PACKED_SOURCE[:, 1:], PACKED[:, 1:])),
}


@pytest.fixture(params=["cudnn", "splash"])
def kernel(request, monkeypatch):
    if request.param == "splash":
        monkeypatch.setattr(fused_attention, "_INTERPRET", True)
        return fused_attention.splash_attention
    if not ON_GPU:
        plain = functools.partial(_with_xla, jax.nn.dot_product_attention)
        monkeypatch.setattr(jax.nn, "dot_product_attention", plain)
    return fused_attention.cudnn_attention


def _with_xla(function, *arguments, implementation, **options):
    assert implementation == "cudnn"
    assert options.get("mask") is None or not any(x % 2 for x in options["mask"].shape[2:])
    return function(*arguments, implementation="xla", **options)


def plain(query, key, value, visible):
    return attention.dot_product_attention(query, key, value, visible.mask(query.shape[1]))


def arrays(queries: int, keys: int, dtype=jnp.bfloat16 if ON_GPU else jnp.float32):
    shapes = [(B, length, H, K) for length in (queries, keys, keys)]
    keys = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(k, shape, dtype) for k, shape in zip(keys, shapes, strict=True)]


def close(found, expected):
    tolerance = 0.05 if ON_GPU else 1e-5
    np.testing.assert_allclose(
        np.asarray(found, np.float32), np.asarray(expected, np.float32), atol=tolerance
    )


@pytest.mark.parametrize("case", CASES)
def test_a_kernel_equals_the_plain_formula(kernel, case):
    """At the positions that count, and in the gradients that come from these."""
    queries, keys, visible = CASES[case]
    real = jnp.ones((B, queries)) if visible.query_segments is None else visible.query_segments > 0

    def result(function, query, key, value):
        heads = function(query, key, value, visible) * real[:, :, None, None]
        return jnp.sum(jnp.sin(heads.astype(jnp.float32))), heads

    def all_of(function):
        gradients = jax.jit(jax.grad(functools.partial(result, function), (0, 1, 2), has_aux=True))
        return jax.tree.leaves(gradients(*arrays(queries, keys)))

    for found, expected in zip(all_of(kernel), all_of(plain), strict=True):
        close(found, expected)


def test_a_row_of_padding_stays_finite(kernel):
    visible = Visibility(SOURCE.at[1].set(0))
    loss = jax.jit(jax.grad(lambda *x: kernel(*x, visible).astype(jnp.float32).sum(), (0, 1, 2)))
    for gradient in loss(*arrays(T, S)):
        assert np.isfinite(np.asarray(gradient, np.float32)).all()


def test_splash_attention_runs_on_each_device_for_itself(monkeypatch):
    monkeypatch.setattr(fused_attention, "_INTERPRET", True)
    queries, keys, visible = CASES["memory"]

    def traced() -> str:
        function = functools.partial(fused_attention.splash_attention, visible=visible)
        return str(jax.make_jaxpr(function)(*arrays(queries, keys)))

    assert "shard_map" not in traced()
    with jax.set_mesh(make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])):
        assert "shard_map" in traced()


@pytest.mark.parametrize("case", ["encoder", "packed_memory"])
def test_kernels_work_where_the_batch_is_cut_by_hand(kernel, case):
    """As in decoding, where each shard of the batch is searched by itself."""
    queries, keys, visible = CASES[case]
    inputs = arrays(queries, keys)
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    rows = jax.sharding.PartitionSpec(RULES["batch"])
    each = jax.shard_map(
        kernel,
        mesh=mesh,
        in_specs=rows,
        out_specs=rows,
        axis_names=set(RULES["batch"]),
        check_vma=False,
    )
    with jax.set_mesh(mesh):
        assert str(jax.make_jaxpr(each)(*inputs, visible)).count("shard_map") == 2
        found = jax.jit(each)(*inputs, visible)
    real = jnp.ones((B, queries)) if visible.query_segments is None else visible.query_segments > 0
    real = real[:, :, None, None]
    close(found * real, plain(*inputs, visible) * real)


@pytest.mark.parametrize(("where", "wanted"), [("gpu", "cudnn"), ("tpu", "splash"), ("cpu", None)])
def test_the_platform_chooses_the_kernel(monkeypatch, where, wanted):
    called = []
    kernels = {"gpu": "cudnn", "tpu": "splash"}
    for name, kernel in kernels.items():
        fake = functools.partial(lambda kernel, q, k, v, _: called.append(kernel) or q, kernel)
        monkeypatch.setitem(attention._KERNELS, name, fake)
    monkeypatch.setattr(attention, "platform", lambda: where)
    x = jnp.ones((1, 2, 16), jnp.bfloat16)
    for name in ("fused", "plain"):
        config = small_model(attention=name, d_v=8, dtype="bfloat16")
        module = attention.MultiHeadAttention(config, nnx.Rngs(0))
        module(x, module.keys_values(x), Visibility(causal=True))
    assert called == ([wanted] if wanted else [])


def test_what_cudnn_does_not_take_is_a_users_mistake(monkeypatch):
    def refuse(*arguments, **options):
        raise NotImplementedError("The head dim must be <= 256, but got 512.")

    if not ON_GPU:
        monkeypatch.setattr(jax.nn, "dot_product_attention", refuse)
    x = jnp.ones((B, T, H, 512), jnp.bfloat16)
    message = '"fused" cannot be had on these GPUs: The head dim .* got 512; set it to "plain"'
    with pytest.raises(UserError, match=message):
        jax.jit(fused_attention.cudnn_attention)(x, x, x, Visibility(causal=True))
