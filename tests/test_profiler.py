"""What `--profile` writes: which steps are traced, and how instructions get the names of layers.

tests/test_train.py has a real run's.
"""

import gzip
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import VOCAB_SIZE
from tests.test_step import config_with, example_batch
from transformer.config import MeshConfig
from transformer.data.batching import Batch, Shape
from transformer.sharding import make_mesh
from transformer.training import profiler as profiler_lib
from transformer.training.profiler import Profiler
from transformer.training.step import TrainState, make_init, make_train_step, state_template
from transformer.training.trace import layer_of, table, write_timeline
from transformer.training.xplane import Event, read_events


def test_compiled_programs_know_their_layers():
    """And what JAX's compilation cache is asked for does not: the names cost no compilation."""
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    config = config_with(model={"dropout_rate": 0.1}, ema_decay=0.9)
    init, shardings = make_init(config, VOCAB_SIZE, mesh)
    step = make_train_step(config, VOCAB_SIZE, mesh, shardings)
    lowered = step.func.lower(*step.args, state_template(init, shardings), example_batch())
    found = {
        layer_of(name) for name in re.findall(r'op_name="([^"]*)"', lowered.compile().as_text())
    }
    sublayers = {
        "encoder": ("self_attention", "feed_forward"),
        "decoder": ("self_attention", "cross_attention", "feed_forward"),
    }
    for stack, parts in sublayers.items():
        layers = {f"{stack}/layer_0/{part}" for part in parts} | {f"{stack}/embedding"}
        assert {(layer, backward) for layer in layers for backward in (False, True)} <= found
    assert {(part, False) for part in ("loss", "optimizer", "moving_average", "metrics")} <= found
    assert "layer_0" not in lowered.as_text() and "optimizer" not in lowered.as_text()


@pytest.mark.parametrize(
    ("op_name", "layer", "backward"),
    [
        ("jvp(encoder)/layer_1/feed_forward/add", "encoder/layer_1/feed_forward", False),
        (
            "transpose(jvp(decoder))/layer_11/cross_attention/...sd,dhk->...shk/dot_general",
            "decoder/layer_11/cross_attention",
            True,
        ),
        ("jvp(encoder)/layer_0/checkpoint/embedding/mul", "encoder/layer_0/embedding", False),
        ("jvp(loss)/while/body/closed_call/gcv,vd->gcd/dot_general", "loss", False),
        ("div", "other", False),
    ],
)
def test_the_layer_of_an_instruction(op_name, layer, backward):
    assert layer_of(f"jit(train_step)/{op_name}") == (layer, backward)


def test_the_table_counts_each_moment_once(tmp_path):
    """A loop's instructions run within it, and other threads at the same time."""
    events = [
        Event("host", "a", "while.1", 0, 10e6, "jit(f)/jvp(loss)/while"),
        Event("host", "a", "dot.2", 1e6, 4e6, "jit(f)/jvp(decoder)/layer_2/feed_forward/dot"),
        Event("host", "a", "add.3", 5e6, 1e6, "jit(f)/add"),
        Event("host", "a", "dot.4", 10e6, 5e6, "jit(f)/transpose(jvp(decoder))/layer_10/mul"),
        Event("host", "b", "dot.5", 2e6, 5e6, "jit(f)/jvp(loss)/dot"),
        Event("host", "b", "waiting", 7e6, 90e6, ""),
    ]
    rows = [line.split() for line in table(events, steps=2).splitlines()[1:]]
    assert rows == [
        ["decoder/layer_2/feed_forward", "2.00", "0.00", "20.0%"],
        ["decoder/layer_10", "0.00", "2.50", "25.0%"],
        ["loss", "5.00", "0.00", "50.0%"],
        ["other", "0.50", "0.00", "5.0%"],
        ["all", "7.50", "2.50", "100.0%"],
    ]
    assert table(events[-1:], steps=2) == ""
    write_timeline(events, tmp_path / "t.gz")
    entries = json.loads(gzip.decompress((tmp_path / "t.gz").read_bytes()))["traceEvents"]
    work = [entry for entry in entries if entry["ph"] == "X"]
    assert [entry["name"] for entry in work][-3:] == [
        "decoder/layer_10 (backward)",
        "loss",
        "waiting",
    ]
    assert work[3]["ts"] == 10e3 and work[3]["args"]["instruction"] == "dot.4"
    assert len({entry["tid"] for entry in work}) == 2


def test_programs_of_one_name_are_told_apart(tmp_path):
    """Two shapes of batches are two programs; their instructions may have the same names."""

    def f(x):
        for name in ("encoder", "decoder", "loss")[: len(x)]:
            with jax.named_scope(name):
                x = jnp.sin(x @ x.T @ x)
        return x

    programs = [jax.jit(f).lower(jnp.ones((size, 64))).compile() for size in (3, 2)]
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would record all that this process is
    with jax.profiler.trace(tmp_path, profiler_options=options):
        for compiled, size in zip(programs, (3, 2), strict=True):
            jax.block_until_ready(compiled(np.ones((size, 64), np.float32)))
    (path,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    events = sorted((e for e in read_events(path) if e.op_name), key=lambda event: event.start)
    layers = [layer_of(event.op_name)[0] for event in events]
    layers = [layer for layer in layers if layer != "other"]
    changes = [a for a, b in zip(layers, [*layers[1:], None], strict=True) if a != b]
    assert changes == ["encoder", "decoder", "loss", "encoder", "decoder"]


STATE = TrainState(jnp.zeros((), jnp.int32), {}, (), None)


@pytest.fixture
def traced(monkeypatch, tmp_path):
    """Runs the loop's part, from `first` to `last`; returns the steps traced and the messages."""

    def run(shapes, breaks, first, num_steps, last=None, read=lambda _: []):
        calls, messages, step = [], [], first
        monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: calls.append(step))
        monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append(step))
        monkeypatch.setattr(profiler_lib, "read_events", read)
        monkeypatch.setattr(profiler_lib, "write_timeline", lambda *_: None)
        (tmp_path / "plugins/profile/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "plugins/profile/a/host.xplane.pb").touch()
        lengths = sorted(set(shapes))
        say = messages.append
        profiler = Profiler(tmp_path, [Shape(s, s, 8) for s in lengths], breaks, num_steps, say)
        while step < (last or num_steps):
            profiler.before(step, STATE)
            width = shapes[min(step - first, len(shapes) - 1)]
            cells = np.zeros((8, width), np.int32)
            step += 1
            profiler.after(Batch(cells, cells, None, cells, cells, cells, None), STATE)
        profiler.close()
        return calls, messages

    return run


def test_steps_are_traced_once_all_shapes_are_compiled(traced):
    # The last shape comes in step 4, two more warm up; step 7 is the first one traced.
    assert traced([8, 8, 16, 24, 8], [100], 0, 50)[0] == [6, 11]
    # Not across a checkpoint: after step 8 there is room for five.
    assert traced([8, 16, 24], [4_000, 8], 0, 50)[0] == [8, 13]
    # Where no five steps lie between two breaks, all that do.
    assert traced([8], [3], 0, 50)[0] == [3, 6]
    assert traced([8], [100], 40, 50)[0] == [43, 48]


def test_a_run_that_ends_too_early(traced):
    calls, messages = traced([8, 16], [100], 46, 50)
    assert calls == [] and messages[0].startswith("no profile: the run ended before 7 steps")
    # Stopped within the trace: what there is of it is written.
    calls, messages = traced([8], [100], 0, 50, last=5)
    assert calls == [3, 5] and messages[0].startswith("profile of 2 steps")


def test_a_recording_that_cannot_be_read_ends_no_run(traced):
    def unreadable(_):
        raise IndexError("index out of range")

    steps, messages = traced([5], [100], 0, 20, read=unreadable)
    assert len(steps) == 2 and len(messages) == 1
    assert "host.xplane.pb, of which no table could be made (IndexError: index" in messages[0]
