"""Whether a config compiles for a machine, fits it, and how fast it would probably be."""

import dataclasses
import math
import time
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from transformer.config import Config
from transformer.errors import UserError
from transformer.hardware import compile as compiling
from transformer.hardware.estimate import (
    Estimate,
    assumptions,
    compiler_seconds,
    estimate,
    roofline_seconds,
)
from transformer.hardware.hlo import parse
from transformer.hardware.program import collectives, kernels_without_flops
from transformer.hardware.topology import Topology, devices_of, need, places_of
from transformer.model.flops import forward_flops, training_flops
from transformer.sharding import make_mesh

# Where JAX reserves memory on a GPU it takes so much (XLA_PYTHON_CLIENT_MEM_FRACTION).
_GPU_SHARE = 0.75
_USUAL_LENGTH = 64  # twice the mean of WMT14's sentences


def usual_length(config: Config) -> int:
    """Tokens of a row: packed rows are full; of others 64, or the longest there may be if less."""
    longest = config.data.max_length
    return longest if config.data.packing else min(_USUAL_LENGTH, longest)


def check(
    config: Config,
    topology: Topology,
    what: str = "train",
    tokens_per_device: int | None = None,
    length: int | None = None,
) -> dict[str, Any]:
    """Compiles the training step, or decoding, and says what is in the program: plain values.

    Args:
      config: of the run; `config.data.vocab_size` is taken for the size of the vocabulary.
      topology: the machine.
      what: "train" or "decode".
      tokens_per_device: of each side of a batch, instead of `config.data.batch_tokens` in all.
      length: tokens of a row on either side, by default `usual_length`.

    Raises:
      UserError: before anything is compiled, where mesh, batch and devices do not go together, or
        where what compiles is not installed.
    """
    if what == "decode":
        config = dataclasses.replace(config, model=config.decoding_model)
    devices = devices_of(topology)
    _check_attention(config, topology)
    mesh = make_mesh(config.mesh, devices)
    length = length or usual_length(config)
    if what == "train":
        tokens = config.data.batch_tokens
        tokens = tokens if tokens_per_device is None else tokens_per_device * len(devices)
        case = _training(config, mesh, tokens, length)
    else:
        case = _decoding(config, mesh, length)
    record = {
        "what": what,
        "topology": topology.name,
        "chips": topology.chips,
        "devices": len(devices),
        "mesh": dict(mesh.shape),
        "dtype": config.model.dtype,
        "remat": config.model.remat,
        "batch": case.batch,
        "parameters": sum(math.prod(array.shape) for array in jax.tree.leaves(case.params)),
        "flops": case.flops,
    }
    started = time.time()
    try:
        compiled = compiling.compile_program(case.lowered, mesh)
    except compiling.OutOfMemory as error:
        memory = case.held | {"needed": error.needed, "available": error.available}
        found = {"fits": False, "bytes_per_device": memory}
    else:
        found = _found(compiled, case, config, topology, list(mesh.devices.flat))
    return record | found | {"compile_seconds": round(time.time() - started, 1)}


def _check_attention(config: Config, topology: Topology) -> None:
    gpu = topology.accelerator.gpu
    if config.model.attention == "fused" and gpu:
        if gpu.compute_capability < (8, 0):
            raise UserError(
                f'config.model.attention is "fused", which {topology.accelerator.name} is too old '
                'for; set it to "plain".'
            )
        need("compile-cuda13", "nvidia.cudnn")


class _Case(NamedTuple):
    """What is compiled, and what its numbers are measured by."""

    lowered: Any
    params: Any
    held: dict[str, int]  # bytes on each device before the program starts
    batch: dict[str, Any]
    target_tokens: int
    flops: int  # that the model needs for the batch
    loop_trips: int  # of loops of which only the data can tell
    steps: int | None  # of the whole training
    assumptions: tuple[str, ...]


def _training(config: Config, mesh: Mesh, tokens: int, length: int) -> _Case:
    shape = compiling.training_batch(config, mesh, tokens, length)
    lowered, state = compiling.lower_training(config, mesh, shape)
    target_tokens = shape.rows * length
    return _Case(
        lowered=lowered,
        params=state.params,
        held={
            "parameters": compiling.bytes_on_device(state.params),
            "optimizer": compiling.bytes_on_device(state.opt_state),
            "average": compiling.bytes_on_device(state.ema),
        },
        batch={
            "rows": shape.rows,
            "source_length": length,
            "target_length": length,
            "packed": config.data.packing,
            "target_tokens": target_tokens,
            "target_tokens_per_device": target_tokens / mesh.size,
        },
        target_tokens=target_tokens,
        flops=shape.rows * training_flops(config.model, config.data.vocab_size, length, length),
        loop_trips=1,
        steps=config.training.num_steps,
        assumptions=(),
    )


def _decoding(config: Config, mesh: Mesh, length: int) -> _Case:
    slots, shape = compiling.decoding_batch(config, mesh, length)
    lowered, state = compiling.lower_decoding(config, mesh, slots, shape)
    return _Case(
        lowered=lowered,
        params=state.params,
        held={"parameters": compiling.bytes_on_device(state.params)},
        batch={
            "sentences": shape.rows,
            "at_a_time": slots,
            "source_length": length,
            "target_length": length,
            "beam_size": config.decoding.beam_size,
        },
        target_tokens=shape.rows * length,
        flops=shape.rows * _decoding_flops(config, length),
        loop_trips=length * math.ceil(shape.rows / slots),
        steps=None,
        assumptions=("every output has as many tokens as its source, and no slot is ever empty",),
    )


def _decoding_flops(config: Config, length: int) -> int:
    """Of one sentence: its source once, its output once for each hypothesis."""
    model, vocab_size = config.model, config.data.vocab_size
    source = forward_flops(model, vocab_size, length, 0)
    hypothesis = forward_flops(model, vocab_size, length, length) - source
    beams = config.decoding.beam_size if config.decoding.strategy == "beam" else 1
    return source + beams * hypothesis


def _found(
    compiled: jax.stages.Compiled,
    case: _Case,
    config: Config,
    topology: Topology,
    devices: list[jax.Device],
) -> dict[str, Any]:
    """What the compiled program holds, sends, computes, and how long it probably takes."""
    accelerator = topology.accelerator
    memory = case.held | _memory(compiled, topology)
    program = parse(compiled.as_text())
    places = places_of(topology, devices)
    found = estimate(program, accelerator, places, topology.torus, case.loop_trips)
    own = compiler_seconds(program, accelerator, case.loop_trips)
    totals = collectives(program, len(devices), case.loop_trips)
    kernels = kernels_without_flops(program, case.loop_trips)
    stated = [*assumptions(accelerator), *case.assumptions]
    if kernels:
        stated.append("kernels_without_flops take as long as their memory traffic")
    return {
        "fits": memory["needed"] <= memory["available"],
        "bytes_per_device": memory,
        "collectives": {
            kind: {"count": t.count, "bytes": t.bytes, "sent_bytes": round(t.sent_bytes)}
            for kind, t in sorted(totals.items())
        },
        "program_flops_per_device": found.flops,
        "kernels_without_flops": kernels,
        "arithmetic_intensity": round(found.flops / max(found.memory_bytes, 1), 1),
        "estimate": _timing(found, own, case, config, topology) | {"assumptions": stated},
    }


def _memory(compiled: jax.stages.Compiled, topology: Topology) -> dict[str, int]:
    found = compiled.memory_analysis()
    share = _GPU_SHARE if topology.accelerator.platform == "gpu" else 1
    chip = topology.accelerator.memory_bytes // topology.accelerator.devices_per_chip
    return {
        "temporaries": found.temp_size_in_bytes,
        "needed": found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.temp_size_in_bytes
        + found.generated_code_size_in_bytes,
        "available": int(share * chip),
    }


def _timing(
    found: Estimate, own: float | None, case: _Case, config: Config, topology: Topology
) -> dict[str, Any]:
    accelerator = topology.accelerator
    half = config.model.dtype == "bfloat16" and accelerator.bfloat16_flops
    peak = (half or accelerator.float32_flops) * topology.chips
    roofline = roofline_seconds(found, accelerator)
    timing = {
        "label": "estimate, nothing was run",
        "seconds": round(found.seconds, 6),
        "product_seconds": round(found.product_seconds, 6),
        "memory_seconds": round(found.memory_seconds, 6),
        "start_seconds": round(found.start_seconds, 6),
        "copy_wait_seconds": round(found.copy_wait_seconds, 6),
        "collective_seconds": round(found.collective_seconds, 6),
        "collective_wait_seconds": round(found.collective_wait_seconds, 6),
        "roofline_seconds": round(roofline, 6),
        "target_tokens_per_second": round(case.target_tokens / found.seconds),
        "mfu": round(case.flops / found.seconds / peak, 4),
        "roofline_mfu": round(case.flops / roofline / peak, 4),
    }
    if own:
        timing["compiler_seconds"] = round(own + found.collective_wait_seconds, 6)
    if case.steps:
        timing |= {"steps": case.steps, "hours": round(case.steps * found.seconds / 3600, 2)}
    return timing
