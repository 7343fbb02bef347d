"""Attention and both layers against numbers of torch.nn's own, made by reference/make_golden.py."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import unflatten_dict

from tests.helpers import small_model
from transformer.model.attention import MultiHeadAttention
from transformer.model.encoder_decoder import DecoderLayer, EncoderLayer
from transformer.model.visibility import Visibility

PATH = pathlib.Path(__file__).parent / "golden" / "torch_layers.json"
MODULES = {"attention": MultiHeadAttention, "encoder": EncoderLayer, "decoder": DecoderLayer}


def load_golden() -> dict:
    """{"torch": its version, "weights": ..., "inputs": ..., "outputs": {case: array}}."""
    flat = json.loads(PATH.read_text(encoding="utf-8"))
    arrays = {name: np.array(value) for name, value in flat.items() if name != "torch"}
    return {"torch": flat["torch"]} | unflatten_dict(arrays, sep="/")


def single_precision(tree):
    """Floats as float32 and integers as int32, where NumPy has 64 bits."""
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32 if x.dtype.kind == "f" else jnp.int32), tree
    )


def build(kind: str, norm: str, weights: dict) -> nnx.Module:
    """The module of `kind` with exactly these weights."""
    own = weights if kind == "attention" else weights["self_attention"]
    d_model, num_heads, d_k = own["query"].shape
    d_ff = 1 if kind == "attention" else weights["feed_forward"]["w1"].shape[1]
    config = small_model(
        norm=norm, d_model=d_model, d_ff=d_ff, num_heads=num_heads, d_k=d_k, d_v=d_k
    )
    module = nnx.eval_shape(lambda: MODULES[kind](config, nnx.Rngs(0)))
    graphdef, state = nnx.split(module, nnx.Param)
    shapes = jax.tree.map(jnp.shape, nnx.to_pure_dict(state))
    assert jax.tree.map(jnp.shape, weights) == shapes
    return nnx.merge(graphdef, weights)


def ours(kind: str, variant: str, weights: dict, inputs: dict) -> jax.Array:
    """A case's output. `inputs` has source [B S D] and target [B T D], and segments of both."""
    source, target = inputs["source"], inputs["target"]
    visible_source = Visibility(inputs["source_segments"])
    visible_target = Visibility(inputs["target_segments"], causal=True)
    module = build(kind, "post" if kind == "attention" else variant, weights)
    if kind == "encoder":
        return module(source, visible_source)
    if kind == "decoder":
        memory = module.cross_attention.keys_values(source)
        return module(target, memory, visible_target, visible_source)
    if variant == "padding":
        return module(source, module.keys_values(source), visible_source)
    if variant == "causal":
        return module(target, module.keys_values(target), visible_target)
    return module(target, module.keys_values(source), visible_source)


GOLDEN = load_golden()


@pytest.mark.parametrize("case", GOLDEN["outputs"])
def test_agrees_with_torch(case):
    kind, variant = case.split("_")
    weights, inputs = single_precision((GOLDEN["weights"][kind], GOLDEN["inputs"]))
    found = jax.jit(lambda *arguments: ours(kind, variant, *arguments))(weights, inputs)
    np.testing.assert_allclose(found, GOLDEN["outputs"][case], rtol=0, atol=1e-5)
