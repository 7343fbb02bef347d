"""Times that follow from a program's text and the facts about accelerators, by hand."""

import pytest

from tests.hlo_text import PROGRAM, lines
from transformer.hardware.accelerators import ACCELERATORS
from transformer.hardware.estimate import (
    CUDNN_ATTENTION_SHARE,
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
from transformer.hardware.hlo import Product, parse
from transformer.hardware.program import (
    Transfer,
    collectives,
    kernels_without_flops,
)


def test_kernels_say_what_they_compute_or_are_listed():
    scores = '"intermediate_tensor_shape":{"dimensions":["2","16","64","64"],"element_type":"BF16"}'
    # As JAX writes it, where XLA had no GPU to try the kernel on.
    untried = '"intermediate_tensor_shape": {"element_type": "BF16", "dimensions": '
    untried += '["2", "16", "64", "64"]}'
    program = lines(
        "%q = bf16[2,64,16,32]{3,2,1,0} parameter(0)",
        "%f = (bf16[2,16,64,32]{3,1,2,0}, u8[0]{0}) custom-call(%q, %q, %q), "
        f'custom_call_target="__cudnn$fmhaSoftmax", backend_config={{{scores}}}',
        "%b = (bf16[2,16,64,32]{3,1,2,0}, u8[0]{0}) custom-call(%q, %q, %q), "
        f'custom_call_target="__cudnn$fmhaSoftmaxBackward", backend_config={{{untried}}}',
        '%p = bf16[2,64]{1,0} custom-call(%q), custom_call_target="tpu_custom_call", '
        'backend_config={"cost_estimate":{"flops":"77","bytes_accessed":"9"}}',
        '%o = bf16[2,64]{1,0} custom-call(%q), custom_call_target="own"',
    )
    found = estimate(program, ACCELERATORS["h100"], [Place((), 0)])
    assert found.flops == (2 + 5) * 2 * 2 * 16 * 64 * 64 * 32 + 77
    assert kernels_without_flops(program) == {"own": 1}


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
    copy = moved / (3_352.32e9 * MEMORY_SHARE["gpu"])
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


@pytest.mark.parametrize("opcode", ["async", "call"])
def test_a_collective_inside_of_an_asynchronous_call_is_found(opcode):
    """SparseCores run calls: `to_apply` names what they do, where XLA has no -start of its own."""
    callee = {"async": "calls", "call": "to_apply"}[opcode]
    called = [
        "%reduced (q: f32[1000000]) -> f32[1000000] {",
        "  %q = f32[1000000]{0} parameter(0)",
        "  ROOT %r = f32[1000000]{0} all-reduce(%q), replica_groups={{0,1}}",
        '}, execution_thread="sparsecore"',
    ]
    start = f"%start = ((f32[1000000]{{0}}), f32[1000000]{{0}}, u32[]) {opcode}-start(%v), "
    start += f'async_execution_thread="sparsecore", {callee}=%reduced'
    done = f"%done = f32[1000000]{{0}} {opcode}-done(%start)"
    body = [f"  {line}" for line in (*SCHEDULE[:2], start, *SCHEDULE[3:5], done)]
    program = parse("\n".join([*called, "ENTRY %main () -> f32[] {", *body, "}"]))
    h100, pair = ACCELERATORS["h100"], [Place((), 0), Place((), 0)]
    assert estimate(program, h100, pair) == estimate(lines(*SCHEDULE), h100, pair)
    assert collectives(program, 2) == collectives(lines(*SCHEDULE), 2)


def test_cudnn_attention_takes_longer_than_other_kernels_with_its_traffic():
    h100, one = ACCELERATORS["h100"], [Place((), 0)]
    array = "bf16[2,64,16,32]{3,2,1,0}"
    scores = '"intermediate_tensor_shape":{"dimensions":["2","16","64","64"],"element_type":"BF16"}'
    attention, other = (
        estimate(
            lines(
                f"%q = {array} parameter(0)",
                f"%f = {array} custom-call(%q, %q, %q), "
                f'custom_call_target="{name}", backend_config={{{scores}}}',
            ),
            h100,
            one,
        )
        for name in ("__cudnn$fmhaSoftmax", "own")
    )
    moved = 4 * 2 * 64 * 16 * 32 * 2
    assert attention.memory_bytes == other.memory_bytes == moved
    bandwidth = 3_352.32e9
    assert attention.memory_seconds == pytest.approx(moved / bandwidth / CUDNN_ATTENTION_SHARE)
    assert other.memory_seconds == pytest.approx(moved / bandwidth / MEMORY_SHARE["gpu"])


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
