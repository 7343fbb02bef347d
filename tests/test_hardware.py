"""Compiling for hardware that is not there: texts of programs, their costs, users' mistakes."""

# ruff: noqa: E501 (lines of a program's text are what they are)

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
from transformer.hardware.estimate import (
    HOP_SECONDS,
    LINK_SHARE,
    MATRIX_SHARE,
    MEMORY_SHARE,
    START_SECONDS,
    Place,
    compiler_seconds,
    estimate,
    product_seconds,
    roofline_seconds,
    transfer_seconds,
)
from transformer.hardware.hlo import Product, parse, product_of
from transformer.hardware.program import (
    Transfer,
    collectives,
    entry,
    kernels_without_flops,
    runs,
    transfer_of,
    work_of,
)
from transformer.hardware.topology import find_topology, gpu_target
from transformer.model.flops import training_flops
from transformer.sharding import make_mesh

# A loop of four rounds whose body reduces over pairs of devices, and one whose end is unknown.
PROGRAM = """
HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%sliced (p0: bf16[4,256,128], p1: s32[], p2: bf16[128,512]) -> bf16[256,512] {
  %p0 = bf16[4,256,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %p1 = s32[]{:T(128)} parameter(1)
  %zero = s32[] constant(0)
  %part = bf16[1,256,128]{2,1,0} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,256,128}
  %rows = bf16[256,128]{1,0} bitcast(%part)
  %p2 = bf16[128,512]{1,0} parameter(2)
  ROOT %dot.1 = bf16[256,512]{1,0} dot(%rows, %p2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (c: (s32[], f32[100], bf16[4,256,128], bf16[128,512])) -> (s32[], f32[100], bf16[4,256,128], bf16[128,512]) {
  %c = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, bf16[128,512]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  %v = f32[100]{0} get-tuple-element(%c), index=1
  %a = bf16[4,256,128]{2,1,0} get-tuple-element(%c), index=2
  %b = bf16[128,512]{1,0} get-tuple-element(%c), index=3
  %fusion.7 = bf16[256,512]{1,0} fusion(%a, %i, %b), kind=kOutput, calls=%sliced
  %all-reduce.1 = f32[100]{0} all-reduce(%v), channel_id=1, replica_groups=[4,2]<=[8], to_apply=%add
  ROOT %t = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, bf16[128,512]{1,0}) tuple(%i, %all-reduce.1, %a, %b)
}

%four (c: (s32[], f32[100])) -> pred[] {
  %c = (s32[], f32[100]{0}) parameter(0)
  %limit = s32[] constant(4)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

%until (c: (s32[], f32[100])) -> pred[] {
  %c = (s32[], f32[100]{0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %not = pred[] compare(%i, %i), direction=NE
}

ENTRY %main (a: bf16[4,256,128], b: bf16[128,512], v: f32[100]) -> f32[800] {
  %a = bf16[4,256,128]{2,1,0} parameter(0), metadata={op_name="a (b) = c"}
  %b = bf16[128,512]{1,0} parameter(1)
  %v = f32[100]{0} parameter(2)
  %n = s32[] constant(0)
  %start = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, /*index=3*/bf16[128,512]{1,0}) tuple(%n, %v, %a, %b)
  %while.1 = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, bf16[128,512]{1,0}) while(%start), condition=%four, body=%body
  %while.2 = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, bf16[128,512]{1,0}) while(%while.1), condition=%until, body=%body
  %w = f32[100]{0} get-tuple-element(%while.2), index=1
  %all-gather-start.1 = (f32[100]{0}, f32[800]{0}) all-gather-start(%w), channel_id=2, replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  ROOT %all-gather-done.1 = f32[800]{0} all-gather-done(%all-gather-start.1)
}
"""


def lines(*instructions):
    """A program of these instructions."""
    return parse("\n".join(["ENTRY %main () -> f32[] {", *(f"  {i}" for i in instructions), "}"]))


def product_in(*instructions):
    """The product of the last one."""
    computation = entry(lines(*instructions))
    *_, last = computation.values()
    return product_of(last, [computation[name].result[0] for name in last.operands])


def test_runs_count_the_rounds_of_loops():
    program = parse(PROGRAM)
    times = {}
    for instruction, _, count in runs(program, loop_trips=10):
        times[instruction.name] = times.get(instruction.name, 0) + count
    # Four by the condition's constant, ten because only the data can tell.
    assert times["fusion.7"] == times["all-reduce.1"] == 4 + 10
    assert times["all-gather-start.1"] == 1
    known = parse(PROGRAM.replace("body=%body", 'body=%body, {"known_trip_count":{"n":"3"}}'))
    assert sum(n for i, _, n in runs(known) if i.name == "fusion.7") == 6


def test_collectives_are_added_up_by_kind():
    found = collectives(parse(PROGRAM), devices=8, loop_trips=1)
    # In pairs a ring sends all of the 400 bytes; of 3,200 gathered seven eighths arrive.
    assert found["all-reduce"] == (5, 5 * 400, 5 * 400)
    assert found["all-gather"] == (1, 3_200, 2_800)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("replica_groups={{0,2},{1,3}}", (0, 2)),
        ("replica_groups=[2,4]<=[8]", (0, 1, 2, 3)),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", (0, 4)),
        ("replica_groups=mesh['data'=4,'fsdp'=2] {'fsdp'}", (0, 1)),
        ("replica_groups=mesh['data'=4,'fsdp'=2] {'data'}", (0, 2, 4, 6)),
        ("replica_groups=mesh['data'=8] {'data':(2)2}", (0, 2)),
        ("replica_groups={}", tuple(range(8))),
        ("source_target_pairs={{0,3},{3,0}}", (0, 3)),
    ],
)
def test_groups_of_devices(groups, expected):
    program = lines("%v = f32[8]{0} parameter(0)", f"%r = f32[8]{{0}} all-reduce(%v), {groups}")
    computation = entry(program)
    assert transfer_of(program, computation["r"], computation, 8).group == expected


def test_arrays_lie_in_memory_as_tiles():
    program = lines(
        "%tall = f32[16,64]{0,1:T(8,128)} parameter(0)",
        "%near = bf16[100]{0:T(1024)(128)(2,1)S(1)} parameter(1)",
        "%pair = (pred[3]{0}, (u8[2,2]{1,0}, s4[8]{0})) tuple(%tall)",
    )
    tall, near, pair = (i.result for i in entry(program).values())
    # The minor dimension is the first one: 16 are padded to 128, and 64 is a multiple of 8.
    assert (tall[0].bytes, tall[0].elements, tall[0].space) == (64 * 128 * 4, 1_024, 0)
    assert (near[0].bytes, near[0].space) == (2_048, 1)
    assert [array.bytes for array in pair] == [3, 4, 4]


def test_a_fusion_reads_only_the_slice_it_takes():
    program = parse(PROGRAM)
    body = program.computations["body"]
    work = work_of(program, body["fusion.7"], body)
    # A slice of 256 x 128, an index, the matrix of 128 x 512, and the product of 256 x 512.
    assert work.memory_bytes == 2 * (256 * 128 + 128 * 512 + 256 * 512) + 4
    assert [p.flops for p in work.products] == [2 * 256 * 128 * 512]


def test_products_are_found_in_every_dress():
    plain = ["%x = bf16[32,256,64]{2,1,0} parameter(0)", "%y = bf16[32,64,512]{2,1,0} parameter(1)"]
    dot = product_in(
        *plain,
        "%z = f32[32,256,512]{2,1,0} dot(%x, %y), lhs_batch_dims={0}, lhs_contracting_dims={2}",
    )
    assert dot == Product(32, 256, 64, 512, "bf16")
    cublas = product_in(
        *plain,
        "%z = (f32[32,256,512]{2,1,0}, s8[9999999]{0}) custom-call(%x, %y), "
        'custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":'
        '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"]}}}',
    )
    assert cublas == dot
    # A TPU's products: the batch as a window that reaches one place at a time ...
    batched = product_in(
        "%x = bf16[32,256,64]{2,1,0} parameter(0)",
        "%y = bf16[32,512,64]{2,1,0} parameter(1)",
        "%z = f32[32,256,512]{2,1,0} convolution(%x, %y), window={size=32 stride=31 lhs_dilate=32}"
        ", dim_labels=0bf_0oi->0bf",
    )
    assert batched == dot
    # ... and 16 heads as a window over what is padded around a single one.
    heads = product_in(
        "%x = bf16[8,256,1024,1]{2,1,3,0} parameter(0)",
        "%w = bf16[1024,16,64,1]{0,2,1,3} parameter(1)",
        "%q = bf16[8,256,16,64]{1,3,2,0} convolution(%x, %w), window={size=1x16 pad=0_0x15_15 "
        "rhs_reversal=0x1}, dim_labels=0bf1_i1o0->0b1f",
    )
    assert heads == Product(1, 8 * 256, 1_024, 1_024, "bf16")


def test_kernels_say_what_they_compute_or_are_listed():
    scores = '"intermediate_tensor_shape":{"element_type":"BF16","dimensions":["2","16","64","64"]}'
    program = lines(
        "%q = bf16[2,64,16,32]{3,2,1,0} parameter(0)",
        "%f = (bf16[2,16,64,32]{3,1,2,0}, u8[0]{0}) custom-call(%q, %q, %q), "
        f'custom_call_target="__cudnn$fmhaSoftmax", backend_config={{{scores}}}',
        "%b = (bf16[2,16,64,32]{3,1,2,0}, u8[0]{0}) custom-call(%q, %q, %q), "
        f'custom_call_target="__cudnn$fmhaSoftmaxBackward", backend_config={{{scores}}}',
        '%p = bf16[2,64]{1,0} custom-call(%q), custom_call_target="tpu_custom_call", '
        'backend_config={"cost_estimate":{"flops":"77","bytes_accessed":"9"}}',
        '%o = bf16[2,64]{1,0} custom-call(%q), custom_call_target="own"',
    )
    found = estimate(program, ACCELERATORS["h100"], [Place((), 0)])
    assert found.flops == (2 + 5) * 2 * 2 * 16 * 64 * 64 * 32 + 77
    assert kernels_without_flops(program) == {"own": 1}


def test_what_compilers_say_when_memory_runs_out():
    message = "CompileTimeHbmOom: ... HLO temporaries (18.5G) exceeds available HBM (15.75G). HLO"
    assert _hbm_sizes(message) == (18.5 * 2**30, 15.75 * 2**30)
    message = "Ran out of memory in memory space hbm. Used 512.0M of 1.0G hbm. Exceeded by"
    assert _hbm_sizes(message) == (2**29, 2**30)
    assert _hbm_sizes("INTERNAL: something else") is None


def test_products_fill_whole_matrix_units():
    v5e = ACCELERATORS["v5e"]
    full = product_seconds(Product(1, 1_024, 1_024, 1_024, "bf16"), v5e)
    assert full == pytest.approx(2 * 1_024**3 / (197e12 * MATRIX_SHARE["tpu"]))
    # 64 of 128 rows, columns and inner places: an eighth of the work in the same time.
    half = Product(8, 64, 64, 64, "bf16")
    assert product_seconds(half, v5e) == product_seconds(Product(8, 128, 128, 128, "bf16"), v5e)
    h100 = ACCELERATORS["h100"]
    single, double = (product_seconds(Product(1, 64, 64, 64, t), h100) for t in ("bf16", "f32"))
    assert double == pytest.approx(2 * single)
    # No bfloat16 there: computed in float32.
    p100 = product_seconds(Product(1, 64, 64, 64, "bf16"), ACCELERATORS["p100"])
    assert p100 == pytest.approx(2 * 64**3 / (10.6e12 * MATRIX_SHARE["gpu"]))


SCHEDULE = (
    "%x = bf16[1024,1024]{1,0} parameter(0)",
    "%v = f32[1000000]{0} parameter(1)",
    "%start = (f32[1000000]{0}, f32[1000000]{0}) all-reduce-start(%v), replica_groups={{0,1}}",
    "%big = f32[50000000]{0} copy(%v)",
    "%dot = bf16[1024,1024]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}",
    "%done = f32[1000000]{0} all-reduce-done(%start)",
)


def test_an_estimate_by_hand():
    h100, pair = ACCELERATORS["h100"], [Place((), 0), Place((), 0)]
    found = estimate(lines(*SCHEDULE), h100, pair)
    moved = (50_000_000 + 1_000_000) * 4
    copy = moved / (3_352.32e9 * MEMORY_SHARE)
    product = 2 * 1_024**3 / (989.4e12 * MATRIX_SHARE["gpu"])
    start = 2 * START_SECONDS["gpu"]
    assert found.memory_seconds == pytest.approx(copy)
    assert found.product_seconds == pytest.approx(product)
    reduce = HOP_SECONDS["gpu"] + 4_000_000 / (450e9 * LINK_SHARE)
    assert found.collective_seconds == pytest.approx(reduce)
    # The copy takes longer than the reduction, which it hides.
    assert found.collective_wait_seconds == 0
    assert found.seconds == pytest.approx(copy + product + start)
    assert found.flops == 2 * 1_024**3
    total = moved + 3 * 2 * 1_024**2
    assert roofline_seconds(found, h100) == pytest.approx(total / 3_352.32e9)


def test_what_nothing_hides_is_waited_for():
    """The same reduction without the copy, and one that is not asynchronous at all."""
    h100, pair = ACCELERATORS["h100"], [Place((), 0), Place((), 0)]
    without = [line for line in SCHEDULE if not line.startswith("%big")]
    found = estimate(lines(*without), h100, pair)
    work = found.product_seconds + found.start_seconds
    assert found.collective_wait_seconds == pytest.approx(found.collective_seconds - work)
    direct = "%r = f32[1000000]{0} all-reduce(%v), replica_groups={{0,1}}"
    found = estimate(lines(*SCHEDULE[:2], direct, *SCHEDULE[3:5]), h100, pair)
    assert found.collective_wait_seconds == found.collective_seconds > 0


def test_loops_cost_as_often_as_they_run():
    places = [Place((0, 0, 0), 0)] * 8
    once, often = (
        estimate(parse(PROGRAM), ACCELERATORS["v5e"], places, (2, 4, 1), n) for n in (1, 6)
    )
    assert often.flops == 2 * once.flops == 10 * 2 * 256 * 128 * 512
    assert often.seconds > once.seconds


def test_links_of_a_torus_and_of_hosts():
    moved = Transfer("all-reduce", 10**9, tuple(range(256)))
    v5e, h100 = ACCELERATORS["v5e"], ACCELERATORS["h100"]
    torus = [Place((n // 16, n % 16, 0), n // 4) for n in range(256)]
    sent = 2 * 255 / 256 * 1e9
    # A torus closed both ways: four links of 50 GB/s.
    closed = transfer_seconds(moved, v5e, torus, (16, 16, 1))
    assert closed == pytest.approx(30e-6 + sent / (200e9 * LINK_SHARE))
    # A slice of 2 x 4 is not: a line each way.
    slice_of_8 = torus[:4] + torus[16:20]
    line = transfer_seconds(moved._replace(group=tuple(range(8))), v5e, slice_of_8, (2, 4, 1))
    assert line == pytest.approx(4e-6 + 2 * 7 / 8 * 1e9 / (100e9 * LINK_SHARE))
    # Eight adapters of 400 Gb/s are 400 GB/s, where NVLink has 450.
    hosts = [Place((), n // 8) for n in range(256)]
    network = transfer_seconds(moved, h100, hosts)
    assert network == pytest.approx(8 * HOP_SECONDS["gpu"] + sent / (400e9 * LINK_SHARE))
    assert transfer_seconds(moved._replace(group=(0,)), h100, hosts) == 0


def test_the_compilers_own_cycles():
    program = lines(
        *SCHEDULE[:1],
        SCHEDULE[4] + ', backend_config={"estimated_cycles":"1000"}',
        '%c = bf16[1024,1024]{1,0} copy(%dot), backend_config={"estimated_cycles":"500"}',
    )
    # 1,000 cycles are as long as the product takes at the peak.
    product = 2 * 1_024**3 / 197e12
    assert compiler_seconds(program, ACCELERATORS["v5e"]) == pytest.approx(1.5 * product)
    assert compiler_seconds(lines(*SCHEDULE), ACCELERATORS["v5e"]) is None


def test_facts_are_of_the_right_size():
    """Each kind computes 50 to 700 operations a byte of its memory; none is misplaced by 1,000."""
    for accelerator in ACCELERATORS.values():
        peak = accelerator.bfloat16_flops or accelerator.float32_flops
        assert 10 <= peak / accelerator.memory_bandwidth <= 700, accelerator.name
        assert 16e9 <= accelerator.memory_bytes <= 250e9
        assert 20 <= accelerator.memory_bandwidth / accelerator.link_bandwidth / 0.2 <= 400
        assert (accelerator.platform == "gpu") == (accelerator.gpu is not None)
    for gpu in ("p100", "v100"):
        core, accelerator = ACCELERATORS[gpu].gpu, ACCELERATORS[gpu]
        # Each unit multiplies and adds once a cycle.
        units = core.multiprocessors * core.float32_units * core.clock_ghz * 2e9
        assert units == pytest.approx(accelerator.float32_flops, rel=0.01)


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
    [("v5e:2x4", "compile_tpu"), ("h100:8", "compile_cuda13"), ("p100:8", "compile_cuda12")],
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
    assert len({row.name for row in rows}) == len(rows) == 2 + 2 * 2 * len(ACCELERATORS)
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
    record = check_lib.check(small_config, find_topology("h100:1"), "decode", length=6)
    batch = record["batch"]
    assert batch["sentences"] == 8 * batch["at_a_time"]
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
