"""Compiling for hardware that is not there: records, tables, users' mistakes."""

import dataclasses
import json

import jax
import pytest

from experiments import compile_tables
from tests.helpers import VOCAB_SIZE
from tests.test_step import config_with
from transformer.errors import UserError
from transformer.hardware import check as check_lib
from transformer.hardware import topology as topology_lib
from transformer.hardware.accelerators import ACCELERATORS
from transformer.hardware.compile import OutOfMemory, _hbm_sizes, training_batch
from transformer.hardware.topology import find_topology, gpu_target
from transformer.model.flops import training_flops
from transformer.sharding import make_mesh


def test_what_compilers_say_when_memory_runs_out():
    message = "CompileTimeHbmOom: ... HLO temporaries (18.5G) exceeds available HBM (15.75G). HLO"
    assert _hbm_sizes(message) == (18.5 * 2**30, 15.75 * 2**30)
    message = "Ran out of memory in memory space hbm. Used 512.0M of 1.0G hbm. Exceeded by"
    assert _hbm_sizes(message) == (2**29, 2**30)
    assert _hbm_sizes("INTERNAL: something else") is None


def test_topologies():
    assert find_topology("v5e:2x4").chips == find_topology("h100:8").chips == 8
    assert find_topology("tpu7x:4x8x8").torus == (4, 8, 8)
    assert (find_topology("v6e:16x16").torus, find_topology("a100:8").torus) == ((16, 16, 1), ())
    for wrong in ("", "v5e", "v5e:3x4", "h100:2x4", "v9:2x4", "v4:2x4"):
        with pytest.raises(
            UserError, match=r"is no topology; .* v3, v5e, v6e with 2x2, 2x4,.*h100"
        ):
            find_topology(wrong)


def test_gpu_targets_are_text_of_a_proto():
    text = gpu_target(ACCELERATORS["h100"])
    assert text.count("{") == text.count("}") == 3
    assert "core_count: 132" in text and "cuda_compute_capability { major: 9 minor: 0 }" in text


@pytest.mark.parametrize(
    ("name", "extra"),
    [("v5e:2x4", "compile-tpu"), ("h100:8", "compile-cuda13"), ("p100:8", "compile-cuda12")],
)
def test_what_is_missing_is_named(monkeypatch, name, extra):
    monkeypatch.setattr(topology_lib, "_installed", lambda module: False)
    with pytest.raises(UserError, match=rf"pip install -e \.\[{extra}\]"):
        topology_lib.devices_of(find_topology(name))


def test_batches_divide_the_mesh_or_are_refused():
    config = config_with(accumulate_steps=8)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    assert training_batch(config, mesh, 25_000, 64) == (384, 64)
    with pytest.raises(UserError, match=r"7 rows of 64.*1 shards.*8 micro-batches; raise"):
        training_batch(config, mesh, 500, 64)


def test_the_tables_rows_are_what_can_be_compiled():
    rows = list(compile_tables.rows())
    assert len({row.name for row in rows}) == len(rows) == 2 + 2 * 2 * (len(ACCELERATORS) + 2)
    named = {row.name: find_topology(row.flags[-2].split("=")[1]) for row in rows[2:]}
    assert named["big_v5e_16x16"].chips == named["base_p100_256"].chips == 256
    assert {find_topology(row.flags[-1].split("=")[1]).name for row in rows[:2]} == {"p100:8"}


def test_a_row_of_the_tables():
    paper, fits = list(compile_tables.rows())[:2]
    record = {
        "topology": "p100:8",
        "chips": 8,
        "dtype": "float32",
        "batch": {"target_tokens": 24_576},
        "bytes_per_device": {"needed": 3 * 2**30, "available": 2 * 2**30},
        "fits": False,
    }
    timing = {"seconds": 0.25, "target_tokens_per_second": 98_304, "mfu": 0.5, "hours": 6.94}
    found = record | {
        "fits": True,
        "collectives": {"all-reduce": {"bytes": 252_000_000}},
        "estimate": timing | {"roofline_mfu": 0.75},
    }
    head, rows = compile_tables.table_of({paper: record, fits: found})
    assert [len(row) for row in rows] == [len(head)] * 2
    assert rows[0][:5] == [
        "p100:8 (the paper's: 400 ms a step)", "8", "float32", "3,072", "3.0 of 2.0: does not fit"
    ]  # fmt: skip
    assert not any(rows[0][5:])
    assert rows[1][5:] == ["252", "250.0", "", "98,304", "50%", "75%", "6.9"]


def test_kernels_of_attention_take_what_has_them(monkeypatch):
    config = config_with(model={"dtype": "bfloat16", "d_v": 8, "attention": "fused"})
    monkeypatch.setattr(check_lib, "devices_of", lambda topology: jax.devices()[:1])
    monkeypatch.setattr(topology_lib, "_installed", lambda module: False)
    with pytest.raises(UserError, match="v100 is too old for; set it to"):
        check_lib.check(config, find_topology("v100:8"))
    with pytest.raises(UserError, match=r"pip install -e \.\[compile-cuda13\]"):
        check_lib.check(config, find_topology("h100:8"))


@pytest.fixture
def small_config(monkeypatch):
    """A tiny model, and this machine's CPU in the place of one H100."""
    monkeypatch.setattr(check_lib, "devices_of", lambda topology: jax.devices()[:1])
    config = config_with()
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, vocab_size=VOCAB_SIZE, batch_tokens=48),
        decoding=dataclasses.replace(config.decoding, batch_tokens=64, max_extra_length=2),
    )


def test_a_record_of_training(small_config):
    record = check_lib.check(small_config, find_topology("h100:1"), length=6)
    assert record["batch"]["rows"] == 8 and record["batch"]["target_tokens"] == 48
    assert record["flops"] == 8 * training_flops(small_config.model, VOCAB_SIZE, 6, 6)
    assert record["program_flops_per_device"] == pytest.approx(record["flops"], rel=0.01)
    held = record["bytes_per_device"]
    assert held["parameters"] == 4 * record["parameters"]
    assert held["optimizer"] == 2 * held["parameters"] + 8
    assert held["needed"] > held["parameters"] + held["optimizer"] + held["temporaries"]
    # JAX takes three quarters of a GPU's memory.
    assert record["fits"] and held["available"] == 84_942_979_072 * 3 // 4
    timing = record["estimate"]
    assert timing["hours"] == round(timing["steps"] * timing["seconds"] / 3600, 2)


def test_a_record_of_decoding(small_config):
    decoding = dataclasses.replace(small_config.decoding, dtype="bfloat16")
    config = dataclasses.replace(small_config, decoding=decoding)
    record = check_lib.check(config, find_topology("h100:1"), "decode", length=6)
    assert record["dtype"] == "bfloat16"
    batch = record["batch"]
    assert batch["sentences"] == 12 * batch["at_a_time"]  # compiled for a CPU here
    assert "optimizer" not in record["bytes_per_device"]
    # At least a hypothesis' FLOPs each; the program attends all places of its caches.
    assert record["program_flops_per_device"] > record["flops"] / 4 > 0


def test_a_program_that_does_not_fit_has_no_estimate(small_config, monkeypatch):
    def refuse(lowered, mesh):
        raise OutOfMemory(20 * 2**30, 16 * 2**30)

    monkeypatch.setattr(check_lib.compiling, "compile_program", refuse)
    record = check_lib.check(small_config, find_topology("h100:1"), tokens_per_device=96, length=6)
    assert record["batch"]["rows"] == 16
    assert record["fits"] is False and "estimate" not in record
    assert record["bytes_per_device"]["needed"] == 20 * 2**30


def test_packed_rows_are_full_and_others_of_usual_length():
    config = config_with()
    assert check_lib.usual_length(config) == 64
    short = dataclasses.replace(config.data, max_length=40)
    assert check_lib.usual_length(dataclasses.replace(config, data=short)) == 40
    packed = dataclasses.replace(config.data, packing=True)
    assert check_lib.usual_length(dataclasses.replace(config, data=packed)) == 256


def test_the_door_refuses_before_it_compiles(run_script):
    done = run_script("compile_check", "--config=configs/base.py", "--topology=v5e:3x3")
    assert done.returncode == 2
    assert (
        done.stderr.startswith("error: 'v5e:3x3' is no topology") and "\n" not in done.stderr[:-1]
    )


def test_a_real_program_of_eight_devices(run_script):
    """Every product of the model is found in XLA's text, and every gradient in its collectives."""
    whole = run_script("tests/hardware_child.py", 8, 1, 1)
    assert whole.returncode == 0, whole.stderr
    found = json.loads(whole.stdout)
    model = 16 * training_flops(config_with().model, VOCAB_SIZE, 6, 5) / 8
    assert found["flops"] == pytest.approx(model, rel=0.01)
    assert list(found["collectives"]) == ["all-reduce"]
    gradients = 4 * found["parameters"]
    assert gradients <= found["collectives"]["all-reduce"] < 1.2 * gradients


@pytest.mark.compile
@pytest.mark.parametrize("topology", ["v5e:2x4", "h100:8"])
@pytest.mark.parametrize("what", ["train", "decode"])
def test_base_compiles_for_eight_chips(run_script, topology, what):
    done = run_script(
        "compile_check",
        "--config=configs/base.py",
        "--config.model.dtype=bfloat16",
        f"--topology={topology}",
        f"--what={what}",
        timeout=1_800,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["devices"] == 8 and record["fits"]
    assert record["parameters"] == 63_045_632
    assert record["bytes_per_device"]["parameters"] == 4 * record["parameters"]
    assert 0 < record["estimate"]["mfu"] < record["estimate"]["roofline_mfu"] < 1
    if what == "train":
        # Adam's two moments, and its two counters.
        held = record["bytes_per_device"]
        assert held["optimizer"] == 2 * held["parameters"] + 8
        # Gradients of the model in bfloat16 and of the embedding in float32, once or twice.
        gradients = record["collectives"]["all-reduce"]["bytes"]
        assert 2 * record["parameters"] < gradients < 6 * record["parameters"]
        each = record["program_flops_per_device"] * 8 / record["flops"]
        assert 0.99 < each < 1.2


@pytest.mark.compile
@pytest.mark.parametrize("topology", ["v5e:2x4", "h100:8"])
@pytest.mark.parametrize("what", ["train", "decode"])
def test_fused_attention_compiles_for_eight_chips(run_script, topology, what):
    done = run_script(
        "compile_check",
        "--config=configs/base.py",
        "--config.model.num_layers=1",
        "--config.model.dtype=bfloat16",
        "--config.model.attention=fused",
        "--length=256",
        f"--topology={topology}",
        f"--what={what}",
        timeout=1_800,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["fits"] and "tpu_custom_call" not in record["kernels_without_flops"]
    assert 0 < record["estimate"]["mfu"] < record["estimate"]["roofline_mfu"] < 1
    if what == "train":
        # A causal mask lets splash attention skip blocks that are counted all the same.
        each = record["program_flops_per_device"] * 8 / record["flops"]
        assert 0.99 < each < 1.3


@pytest.mark.compile
def test_what_does_not_fit_is_said_in_bytes(run_script):
    done = run_script(
        "compile_check",
        "--config=configs/base.py",
        "--config.model.num_layers=1",
        "--topology=v5e:2x2",
        "--tokens_per_device=1000000",
        timeout=1_800,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    memory = record["bytes_per_device"]
    assert not record["fits"] and memory["needed"] > memory["available"] > 10 * 2**30
