"""Outputs and gradients beside those of torch.nn, computed now on freshly drawn weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from tests.helpers import VOCAB_SIZE, make_model
from tests.reference import make_golden
from tests.reference.torch_layers import CASES, theirs, transformer
from tests.test_golden import load_golden, ours, single_precision
from transformer.model.encoder_decoder import split

pytestmark = pytest.mark.reference


def assert_agree(our_function, their_function, arguments: dict) -> None:
    """Both functions give the same output for the nested dict of float arrays, to 1e-5.

    So do the gradients of a random projection of the output, with respect to every array, to 1e-5
    of the largest entry.
    """

    def our_loss(arguments, direction):
        output = our_function(arguments)
        return jnp.vdot(output, direction), output

    leaves, structure = jax.tree.flatten(arguments)
    tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in leaves]
    their_output = their_function(jax.tree.unflatten(structure, tensors))
    direction = np.random.default_rng(2).normal(size=their_output.shape)
    their_loss = (their_output * torch.as_tensor(direction)).sum()
    their_gradients = torch.autograd.grad(their_loss, tensors, materialize_grads=True)

    our_gradients, our_output = jax.jit(jax.grad(our_loss, has_aux=True))(
        *single_precision((arguments, direction))
    )
    np.testing.assert_allclose(our_output, their_output.detach(), rtol=0, atol=1e-5)
    found = jax.tree_util.tree_leaves_with_path(our_gradients)
    for (path, gradient), expected in zip(found, their_gradients, strict=True):
        tolerance = 1e-5 * max(1, expected.abs().max())
        np.testing.assert_allclose(
            gradient, expected, rtol=0, atol=tolerance, err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_layers(kind, variant):
    weights, inputs = make_golden.draw(np.random.default_rng(1), d_model=32, d_ff=48, heads=4)
    segments = {name: inputs.pop(name) for name in ("source_segments", "target_segments")}
    our_segments = single_precision(segments)
    their_segments = jax.tree.map(torch.as_tensor, segments)

    assert_agree(
        lambda x: ours(kind, variant, x["weights"], x["inputs"] | our_segments),
        lambda x: theirs(kind, variant, x["weights"], x["inputs"] | their_segments),
        {"weights": weights[kind], "inputs": inputs},
    )


# nn.Transformer says at every pre-norm stack that it forgoes nested tensors.
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_whole_model(norm):
    """Two layers a stack, from ids to logits."""
    graphdef, params = split(nnx.eval_shape(lambda: make_model(norm=norm, d_k=8, d_v=8)))
    rng = np.random.default_rng(1)
    weights = jax.tree.map(lambda x: rng.normal(x.ndim == 1, 0.3, x.shape), params)
    source, target = rng.integers(VOCAB_SIZE, size=(2, 7)), rng.integers(VOCAB_SIZE, size=(2, 5))
    source_segments = np.array([[1] * 7, [1] * 4 + [0] * 3])

    def our_logits(params):
        model = nnx.merge(graphdef, params)
        ids = single_precision([source, source_segments, target, np.ones_like(target)])
        return model.logits(model(*ids))

    def their_logits(weights):
        ids = map(torch.as_tensor, (source, source_segments == 0, target))
        return transformer(weights, norm, *ids)

    assert_agree(our_logits, their_logits, weights)


def test_golden_file_is_up_to_date():
    golden = load_golden()
    expected = make_golden.outputs(golden["weights"], golden["inputs"])
    assert golden["outputs"].keys() == expected.keys()
    for case, output in expected.items():
        np.testing.assert_allclose(golden["outputs"][case], output, rtol=0, atol=1e-6)
