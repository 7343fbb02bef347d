"""Compiled programs as text: arrays, loops, products, traffic, collectives."""

import pytest

from tests.hlo_text import PROGRAM, lines
from transformer.hardware.hlo import Product, parse, product_of
from transformer.hardware.program import (
    collectives,
    entry,
    runs,
    transfer_of,
    work_of,
)


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


def test_splash_attention_and_what_stands_behind_its_metadata():
    def kernel(name):
        return (
            f"%{name}.2 = bf16[2,4,256,64]{{3,2,1,0}} custom-call(%m, %q, %k, %k), "
            'custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={\n'
            '"xprof_metadata":"{}"\n}}'
        )

    names = [
        "splash_mha_fwd_residuals",
        "splash_mha_dq_no_residuals",
        "splash_mha_dkv_no_residuals",
    ]
    computation = entry(
        lines(
            "%m = s8[1,1,1]{2,1,0} parameter(0)",
            "%q = bf16[2,4,256,64]{3,2,1,0} parameter(1)",
            "%k = bf16[2,4,128,64]{3,2,1,0} parameter(2)",
            *map(kernel, names),
            "%last = bf16[2,4,256,64]{3,2,1,0} negate(%q)",
        )
    )
    assert "last" in computation
    operands = [computation[name].result[0] for name in ("m", "q", "k", "k")]
    found = [product_of(computation[f"{name}.2"], operands) for name in names]
    assert found == [Product(count * 2 * 4, 256, 64, 128, "bf16") for count in (2, 3, 4)]
