"""Layout rules; and what one device computes, computed on eight (in processes of their own)."""

import itertools
import json
import math

import jax
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, PartitionSpec

from tests.sharding_child import BEAM, D_MODEL, EVEN, ODD, ROWS, SOURCE, TARGET
from transformer.config import MeshConfig
from transformer.errors import UserError
from transformer.sharding import make_mesh, mesh_that_fits, partition_spec, platform

MESHES = [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2)]
CASES = [*((mesh, ODD) for mesh in MESHES), ((1, 1, 8), EVEN)]

# The layout does not depend on how well each device's own code is optimised; compiling does.
QUICK = {"XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"}


@pytest.fixture(scope="module")
def results(run_script, tmp_path_factory):
    """What tests/sharding_child.py found on a mesh: (arrays, the rest). Each mesh runs once."""
    folder, found = tmp_path_factory.mktemp("meshes"), {}

    def on(*mesh):
        if mesh not in found:
            file = folder / f"{mesh}.npz"
            done = run_script("tests/sharding_child.py", *mesh, file, env=QUICK)
            assert done.returncode == 0, done.stderr
            arrays = dict(np.load(file))
            found[mesh] = arrays, json.loads(str(arrays.pop("result")))
        return found[mesh]

    return on


@pytest.mark.parametrize("mesh", MESHES)
def test_eight_devices_train_like_one(results, mesh):
    """Losses, dropout included, to 1e-5; gradients to 1e-5 of the largest entry of each array."""
    expected_gradients, expected = results(1, 1, 1)
    gradients, found = results(*mesh)
    vocabularies = [key for key in found if key.isdigit()]
    assert str(ODD) in vocabularies and (str(EVEN) in vocabularies) == (mesh == (1, 1, 8))
    for key in vocabularies:
        losses = found[key]["losses"]
        np.testing.assert_allclose(losses, expected[key]["losses"], rtol=1e-5)
        assert losses[-1] < losses[0]
    assert gradients
    for name, gradient in gradients.items():
        reference = expected_gradients[name]
        assert np.abs(reference).max() > 0, name
        error = np.abs(gradient - reference).max() / np.abs(reference).max()
        assert error < 1e-5, name


@pytest.mark.parametrize(("mesh", "vocab_size"), CASES)
def test_parameters_moments_and_average_are_cut_alike(results, mesh, vocab_size):
    _, fsdp, tensor = mesh
    shards = results(*mesh)[1][str(vocab_size)]["shards"]
    words = vocab_size // tensor if vocab_size % tensor == 0 else vocab_size
    rest, heads, wide = D_MODEL // fsdp, 8 // tensor, 128 // tensor
    expected = {
        "['target_embedding']['matrix']": [words, rest],
        "['encoder'][0]['self_attention']['query']": [rest, heads, 4],
        "['encoder'][0]['self_attention']['output']": [heads, 6, rest],
        "['decoder'][0]['cross_attention']['value']": [rest, heads, 6],
        "['decoder'][0]['feed_forward']['w1']": [rest, wide],
        "['decoder'][0]['feed_forward']['b1']": [wide],
        "['decoder'][0]['feed_forward']['w2']": [wide, rest],
        "['decoder'][0]['feed_forward_residual']['norm']['scale']": [D_MODEL],
    }
    for kind in ("params", "mu", "nu", "ema"):
        for name, shape in expected.items():
            assert shards[f"['{kind}']{name}"][1] == shape, (kind, name)


def is_parameter(shape, parameters, mesh):
    """Whether `shape` is that of a parameter or of its part on a device, its axes in any order."""
    _, fsdp, tensor = mesh
    shape = [size for size in shape if size != 1]

    def sizes(whole):
        part = -(-whole // tensor)  # of what does not divide the last part is padded
        return whole, part, part * tensor, whole // fsdp

    return any(
        all(n in sizes(m) for n, m in zip(shape, order, strict=True))
        for whole in parameters
        if len(whole) == len(shape)
        for order in itertools.permutations(whole)
    )


def merged(shape):
    """A matrix of attention as CPUs work out its gradient, a head and its features as one axis."""
    if len(shape) < 3:
        return tuple(shape)
    first, second, third = shape
    return (first, second * third) if first == D_MODEL else (first * second, third)


@pytest.mark.parametrize(("mesh", "vocab_size"), CASES)
def test_a_training_step_moves_only_what_the_layout_implies(results, mesh, vocab_size):
    """Every result of a collective is a parameter, a gradient, a device's own activations, or a
    chunk's sums: never logits, or activations of other devices' rows."""
    data, fsdp, tensor = mesh
    found = results(*mesh)[1][str(vocab_size)]
    shapes = {
        name: (tuple(whole), tuple(part))
        for name, (whole, part) in found["shards"].items()
        if name.startswith("['params']")
    }
    wholes = {form for whole, _ in shapes.values() for form in (whole, merged(whole))}
    activations = {(ROWS // (data * fsdp), length, D_MODEL) for length in (SOURCE, TARGET)}
    chunk = {(1, 256), (1, 256, 1), (1, 256, D_MODEL)}
    seen = {}
    for kind, loop, results_of in found["collectives"]:
        for shape in map(tuple, results_of):
            seen.setdefault(kind, set()).add(tuple(sorted(shape)))
            if loop:
                assert tensor > 1 and kind == "all-reduce" and shape in chunk, (kind, shape)
            elif shape in activations:
                assert tensor > 1 and kind == "all-reduce", (kind, shape)
            else:
                assert is_parameter(shape, wholes, mesh), (kind, shape)
    read, summed = {}, []  # the shapes in which products read: whole along fsdp, which cuts D
    for whole, part in shapes.values():
        sizes = [n if n == D_MODEL else m for n, m in zip(whole, part, strict=True)]
        if whole[0] == vocab_size:
            sizes[0] = -(-vocab_size // tensor)
        read[whole] = tuple(sorted(sizes))
        summed.append({read[whole], tuple(sorted(merged(sizes)))})
    if data * fsdp > 1:
        reduced = seen.get("all-reduce", set()) | seen.get("reduce-scatter", set())
        assert all(forms & reduced for forms in summed)
    if fsdp > 1:
        stored_cut = {
            read[whole] for whole, _ in shapes.values() if len(whole) > 1 and D_MODEL in whole
        }
        if vocab_size % tensor:  # cut along tensor only where it is read, by an all-to-all
            stored_cut.discard(read[vocab_size, D_MODEL])
        assert len(stored_cut) >= 3 and stored_cut <= seen["all-gather"]
    if tensor > 1:
        assert {tuple(sorted(shape)) for shape in activations} <= seen["all-reduce"]
    if fsdp == 1:
        # A vocabulary that does not divide is stored whole: its gradient is fetched, once.
        fetched = [shapes for kind, _, shapes in found["collectives"] if kind != "all-reduce"]
        padded = -(-vocab_size // tensor) * tensor
        assert fetched == ([[[padded, D_MODEL]]] if vocab_size % tensor else [])


@pytest.mark.parametrize("mesh", MESHES)
def test_eight_devices_decode_like_one(results, mesh):
    """Beam search of 1, 3 and 50 sentences, samples, and scores of given translations."""
    expected, found = results(1, 1, 1)[1]["found"], results(*mesh)[1]["found"]
    assert set(expected) == {"1", "3", "50", "samples", "forced"}
    for name, each in expected.items():
        assert len(found[name]) == len(each)
        for (ids, *scores), (expected_ids, *expected_scores) in zip(found[name], each, strict=True):
            assert ids == expected_ids
            found_scores, expected_scores = map(jax.tree.leaves, (scores, expected_scores))
            np.testing.assert_allclose(found_scores, expected_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mesh", MESHES)
def test_a_decoding_step_moves_no_cache_and_no_logits(results, mesh):
    """Only tensor asks anything of another device inside the loop, and then of few numbers."""
    programs = results(*mesh)[1]["search_collectives"]
    sentences = 8 // (mesh[0] * mesh[1])  # that a device decodes at a time, or more short ones
    assert len(programs) >= 2
    for program in programs:
        steps = [(kind, shape) for kind, loop, shapes in program for shape in shapes if loop]
        assert bool(steps) == (mesh[2] > 1)
        for kind, shape in steps:
            assert kind in ("all-reduce", "all-gather")
            assert math.prod(shape) < sentences * BEAM * ODD / 4, (kind, shape)


def test_rules_make_partition_specs():
    mesh = AbstractMesh((2, 4, 2), ("data", "fsdp", "tensor"))
    assert partition_spec(("embed", "mlp"), (8, 6), mesh) == PartitionSpec(("fsdp",), ("tensor",))
    # What a mesh axis does not divide stays whole: a vocabulary of 37,001 words, for example.
    assert partition_spec(("vocab", "embed"), (37_001, 8), mesh) == PartitionSpec(None, ("fsdp",))
    assert partition_spec(("batch", None), (16, 3), mesh) == PartitionSpec(("data", "fsdp"), None)


def test_the_platform_is_that_of_the_mesh_in_force():
    assert platform() == "cpu"
    device = AbstractDevice(device_kind="TPU v5e", num_cores=1, platform="tpu")
    mesh = AbstractMesh((8,), ("data",), (AxisType.Auto,), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        assert platform() == "tpu"


def test_the_mesh_must_use_all_devices():
    assert make_mesh(MeshConfig(-1, 1, 1)).shape["data"] == len(jax.devices())
    with pytest.raises(UserError, match="does not divide the 1 devices here"):
        make_mesh(MeshConfig(-1, 2, 1), jax.devices()[:1])


def test_weights_are_read_on_a_mesh_that_fits():
    assert dict(mesh_that_fits(MeshConfig(1, 1, -1)).shape) == {"data": 1, "fsdp": 1, "tensor": 1}
    assert mesh_that_fits(MeshConfig(2, 2, 2)).size == len(jax.devices())
