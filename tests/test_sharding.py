"""Layout rules, and equal losses on one device and on eight (in processes of their own)."""

import json

import jax
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, PartitionSpec

from transformer.config import MeshConfig
from transformer.errors import UserError
from transformer.sharding import make_mesh, partition_spec, platform


def train_on(run_script, *mesh):
    done = run_script("tests/sharding_child.py", *mesh)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def one_device(run_script):
    return train_on(run_script, 1, 1, 1)


@pytest.mark.parametrize(("mesh", "shard"), [((8, 1, 1), [16, 24]), ((2, 2, 2), [8, 12])])
def test_eight_devices_train_like_one(run_script, one_device, mesh, shard):
    """The same losses, dropout included, and parameters [D F] cut as the rules say."""
    found = train_on(run_script, *mesh)
    np.testing.assert_allclose(found["losses"], one_device["losses"], rtol=1e-5)
    assert found["losses"][-1] < found["losses"][0]
    assert (found["devices"], found["shard"]) == (8, shard)


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
