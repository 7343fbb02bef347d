"""Save, restore, average, keep the best, and what is said of damaged checkpoints."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer.config import MeshConfig
from transformer.errors import UserError
from transformer.sharding import make_mesh, replicated
from transformer.training.checkpoint import Checkpoints, averaged_steps, read_weights, saved_steps
from transformer.training.step import TrainState


def make_state(step, value):
    sharding = replicated(make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1]))
    params = {"layers": {0: {"w": jnp.full((3, 2), value)}}, "bias": jnp.arange(4.0) * value}
    state = TrainState(jnp.asarray(step, jnp.int32), params, {"count": jnp.asarray(step)}, None)
    return jax.device_put(state, sharding)


def template(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run with checkpoints of steps 2, 4 and 6, step 1 being forgotten, and a best one."""
    workdir = tmp_path_factory.mktemp("run")
    checkpoints = Checkpoints(workdir, keep_last=3, keep_best=1)
    for step in (1, 2, 4, 6):
        checkpoints.save(make_state(step, float(step)), {"data": {"next_index": step}, "stops": []})
    for step, bleu in ((2, 10.0), (4, 30.0), (6, 20.0)):
        checkpoints.save_best(step, make_state(step, float(step)).params, bleu)
    checkpoints.close()
    return workdir


@pytest.fixture
def workdir(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


def test_the_newest_is_restored_whole(workdir):
    checkpoints = Checkpoints(workdir, 3, 1)
    assert checkpoints.latest_step == 6
    state, progress = checkpoints.restore(template(make_state(0, 0.0)))
    assert_equal(state, make_state(6, 6.0))
    assert progress == {"data": {"next_index": 6}, "stops": []}
    checkpoints.close()


def test_the_last_ones_and_the_best_are_kept(workdir):
    assert saved_steps(workdir) == [2, 4, 6]
    assert saved_steps(workdir, best=True) == [4]
    assert saved_steps(workdir / "nothing") == []


@pytest.mark.parametrize(
    ("options", "steps", "value"),
    [
        ({}, [6], 6.0),
        ({"average": 2}, [4, 6], 5.0),
        ({"average": 3}, [2, 4, 6], 4.0),
        ({"step": 4}, [4], 4.0),
        ({"step": 4, "average": 2}, [2, 4], 3.0),
        ({"best": True}, [4], 4.0),
    ],
)
def test_weights_by_choice(workdir, options, steps, value):
    example = make_state(0, value).params
    params, used = read_weights(workdir, template(example), **options)
    assert used == steps
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, example)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 5}, "holds no checkpoint of step 5; it holds 2, 4, 6"),
        ({"average": 4}, "4 checkpoints cannot be averaged"),
    ],
)
def test_what_is_not_there_is_named(workdir, options, message):
    with pytest.raises(UserError, match=message):
        read_weights(workdir, template(make_state(0, 0.0).params), **options)


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint; train first"):
        read_weights(tmp_path, {})


def truncate(folder):
    """Cuts the arrays of a checkpoint short, as a full disk would."""
    data = [path for path in folder.rglob("*") if path.is_file() and "/d/" in str(path)]
    assert data
    for path in data:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_truncated_checkpoint_offers_the_newest_whole_one(workdir):
    truncate(workdir / "checkpoints" / "6")
    checkpoints = Checkpoints(workdir, 3, 1)
    message = r"checkpoints/6 cannot be read; .*; the newest whole one before it is step 4: move 6"
    with pytest.raises(UserError, match=message):
        checkpoints.restore(template(make_state(0, 0.0)))
    with pytest.raises(UserError, match=message):
        read_weights(workdir, template(make_state(0, 0.0).params))
    checkpoints.close()


def test_where_a_run_was_stopped_decides_no_average(tmp_path):
    """Stopped after 3, 4, 7 and 9 steps, it keeps and averages what it does when left alone."""
    alone, stopped, stops = tmp_path / "alone", tmp_path / "stopped", []
    for step in (2, 3, 4, 6, 7, 8, 9, 10):
        for workdir in (alone, stopped)[step % 2 :]:
            checkpoints = Checkpoints(workdir, keep_last=3, keep_best=0)
            if step % 2:
                stops.append(step)
            checkpoints.save(make_state(step, float(step)), {"stops": stops * (workdir == stopped)})
            checkpoints.close()
        assert averaged_steps(stopped) == averaged_steps(alone) == saved_steps(alone)
        assert saved_steps(stopped) == saved_steps(alone) + [step] * (step % 2)
    example = template(make_state(0, 0.0).params)
    means = [read_weights(workdir, example, average=3) for workdir in (alone, stopped)]
    assert means[0][1] == means[1][1] == [6, 8, 10]
    assert_equal(*(mean for mean, _ in means))


def test_a_step_that_was_stopped_at_is_averaged_with_no_other(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=3, keep_best=0)
    for step, stops in ((2, []), (4, []), (5, [5])):
        checkpoints.save(make_state(step, float(step)), {"stops": stops})
    checkpoints.close()
    example = template(make_state(0, 0.0).params)
    assert read_weights(tmp_path, example)[1] == read_weights(tmp_path, example, step=5)[1] == [5]
    assert read_weights(tmp_path, example, average=2)[1] == [2, 4]
    with pytest.raises(UserError, match=r"^3 checkpoints .*/checkpoints holds 2, 4 to be"):
        read_weights(tmp_path, example, average=3)


def test_an_imports_weights_are_averaged_with_no_others(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=3, keep_best=0)
    checkpoints.save(make_state(0, 7.0), {})
    checkpoints.close()
    assert (saved_steps(tmp_path), averaged_steps(tmp_path)) == ([0], [])
    checkpoints = Checkpoints(tmp_path, keep_last=3, keep_best=0)
    for step in (2, 4):
        checkpoints.save(make_state(step, float(step)), {"stops": []})
    checkpoints.close()
    assert (saved_steps(tmp_path), averaged_steps(tmp_path)) == ([0, 2, 4], [2, 4])


def test_best_weights_of_steps_to_come_make_way(workdir):
    """A killed run's come again; where no checkpoint is left, they are of another experiment."""
    checkpoints = Checkpoints(workdir, 3, 2)
    checkpoints.save_best(8, make_state(8, 8.0).params, 40.0)
    checkpoints.close()
    assert saved_steps(workdir, best=True) == [4, 8]
    for gone, steps in ((), [4]), (("6",), [4]), (("4", "2"), []):
        for step in gone:
            shutil.rmtree(workdir / "checkpoints" / step)
        Checkpoints(workdir, 3, 2).close()
        assert saved_steps(workdir, best=True) == steps
    assert [path.name for path in (workdir / "best.1").glob("4")] == ["4"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory")]
)
def test_too_little_memory_is_no_damage(workdir, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.restore", fail)
    with pytest.raises(type(error)):
        read_weights(workdir, template(make_state(0, 0.0).params))


def test_what_failed_is_said(workdir, monkeypatch):
    def fail(*_, **__):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.restore", fail)
    message = r"6 cannot be read; .*Stale file handle\); there is no whole one before it\.$"
    with pytest.raises(UserError, match=message):
        read_weights(workdir, template(make_state(0, 0.0).params))


def test_an_unfinished_save_is_no_checkpoint(workdir):
    """What a process that was killed while saving leaves behind."""
    folder = workdir / "checkpoints"
    (folder / "8.orbax-checkpoint-tmp-0").mkdir()
    assert saved_steps(workdir) == [2, 4, 6]
    checkpoints = Checkpoints(workdir, 3, 1)
    assert checkpoints.latest_step == 6
    checkpoints.close()


def test_checkpoints_hold_arrays_and_json_only(workdir):
    """Nothing that reading could execute, such as a pickle."""
    for path in (workdir / "checkpoints" / "6").rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            assert not raw.startswith(b"\x80"), path  # a pickle's first byte
            if path.name.startswith("_"):
                json.loads(raw)
