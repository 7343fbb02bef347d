"""Computes with PyTorch the numbers that tests/test_golden.py expects, and writes them.

python -m tests.reference.make_golden        (at the repository's root)

The file holds weights and inputs too, for NumPy's generators may change between its versions.
"""

import json
import pathlib

import jax
import numpy as np
import torch
from flax.traverse_util import flatten_dict

from tests.reference.torch_layers import CASES, theirs

PATH = pathlib.Path(__file__).parents[1] / "golden" / "torch_layers.json"


def main() -> None:
    drawn = draw(np.random.default_rng(0), d_model=6, d_ff=5, heads=3)
    # Few decimals, which PyTorch and JAX read alike, keep the file small and fit to be read.
    weights, inputs = jax.tree.map(lambda x: x.round(3), drawn)
    golden = {
        "torch": torch.__version__.partition("+")[0],
        "weights": weights,
        "inputs": inputs,
        "outputs": jax.tree.map(lambda x: x.round(7), outputs(weights, inputs)),
    }
    lines = [
        f"{json.dumps(name)}: {json.dumps(value, default=np.ndarray.tolist)}"
        for name, value in flatten_dict(golden, sep="/").items()
    ]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def draw(rng: np.random.Generator, d_model: int, d_ff: int, heads: int) -> tuple[dict, dict]:
    """Random weights of each kind of module, and inputs for `theirs`."""

    def matrix(*shape):
        return rng.normal(0, d_model**-0.5, shape)

    def bias(size):
        return rng.normal(0, 0.3, size)

    def attention():
        d_k = d_model // heads
        into_heads = {name: matrix(d_model, heads, d_k) for name in ("query", "key", "value")}
        return into_heads | {"output": matrix(heads, d_k, d_model)}

    def residual():
        return {"norm": {"scale": 1 + bias(d_model), "bias": bias(d_model)}}

    def layer(*attentions):
        feed_forward = {
            "w1": matrix(d_model, d_ff),
            "b1": bias(d_ff),
            "w2": matrix(d_ff, d_model),
            "b2": bias(d_model),
        }
        return {
            **{name: attention() for name in attentions},
            "feed_forward": feed_forward,
            **{f"{name}_residual": residual() for name in (*attentions, "feed_forward")},
        }

    weights = {
        "attention": attention(),
        "encoder": layer("self_attention"),
        "decoder": layer("self_attention", "cross_attention"),
    }
    inputs = {
        "source": rng.normal(size=(2, 5, d_model)),
        "target": rng.normal(size=(2, 4, d_model)),
        "source_segments": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
        "target_segments": np.array([[1, 1, 1, 1], [1, 1, 0, 0]]),
    }
    # So faint a vector that the epsilon of layer normalisation is seen.
    inputs["source"][0, 0] *= 0.02
    return weights, inputs


def outputs(weights: dict, inputs: dict) -> dict:
    """The output of every case in float64, which does not depend on the machine."""
    weights, inputs = jax.tree.map(torch.as_tensor, (weights, inputs))
    return {
        f"{kind}_{variant}": theirs(kind, variant, weights[kind], inputs).numpy()
        for kind, variant in CASES
    }


if __name__ == "__main__":
    main()
