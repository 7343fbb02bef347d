"""What XLA is told about a training step, and that it changes no result."""

import jax
import numpy as np
import pytest

from tests.helpers import small_model
from tests.test_step import config_with, example_batch, run
from transformer.config import MeshConfig
from transformer.sharding import make_mesh
from transformer.training import compiler
from transformer.training import step as step_lib

HALF = small_model(dtype="bfloat16")


@pytest.fixture
def mesh(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 12, 0))
    monkeypatch.setattr(compiler, "_has_onednn", lambda: True)
    monkeypatch.setattr(compiler, "_multiplies_bfloat16", lambda: True)
    return make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])


def test_onednn_is_for_bfloat16_and_wide_models(mesh, monkeypatch):
    assert compiler.training_options(HALF, mesh)["xla_cpu_use_onednn"]
    assert compiler.training_options(small_model(dtype="float32"), mesh) is None
    assert compiler.training_options(small_model(dtype="float32", d_model=512), mesh)
    monkeypatch.setattr(compiler, "_multiplies_bfloat16", lambda: False)
    assert compiler.training_options(HALF, mesh) is None


def test_on_gpus_products_of_one_array_stay_separate(mesh, monkeypatch):
    monkeypatch.setattr(compiler, "platform", lambda _: "gpu")
    assert compiler.training_options(HALF, mesh) == {"xla_gpu_dot_merger_threshold_mb": 0}


def test_onednn_is_not_for_other_machines_nor_for_an_xla_that_crashes(mesh, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "platform", lambda _: "tpu")
        assert compiler.training_options(HALF, mesh) is None
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_has_onednn", lambda: False)
        assert compiler.training_options(HALF, mesh) is None
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    assert compiler.training_options(HALF, mesh) is None


@pytest.mark.skipif(
    jax.__version_info__ < (0, 11)
    or not compiler._has_onednn()
    or not compiler._multiplies_bfloat16(),
    reason="JAX 0.11 and a CPU with bfloat16 products are needed",
)
@pytest.mark.parametrize(
    ("dtype", "loss_tolerance", "tolerance"), [("bfloat16", 3e-3, 2e-2), ("float32", 1e-5, 1e-4)]
)
def test_with_and_without_onednn_training_is_the_same(
    monkeypatch, dtype, loss_tolerance, tolerance
):
    config = config_with(model={"dtype": dtype, "dropout_rate": 0.1})
    monkeypatch.setattr(compiler, "_WIDE", 1)
    with_onednn, _, losses = run(config, example_batch(), steps=3)
    monkeypatch.setattr(step_lib, "training_options", lambda *_: None)
    without, _, others = run(config, example_batch(), steps=3)
    np.testing.assert_allclose(losses, others, rtol=loss_tolerance)
    for a, b in zip(*map(jax.tree.leaves, (with_onednn.params, without.params)), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)
