"""Whether a config compiles for a machine, fits it, and how fast it would probably be."""

import math
import time
from typing import Any

import jax

from transformer.config import Config
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
from transformer.hardware.topology import Topology, devices_of, places_of
from transformer.model.flops import forward_flops, training_flops
from transformer.sharding import make_mesh
from transformer.training.step import TrainState

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
    devices = devices_of(topology)
    mesh = make_mesh(config.mesh, devices)
    length = length or usual_length(config)
    record: dict[str, Any] = {
        "what": what,
        "topology": topology.name,
        "chips": topology.chips,
        "devices": len(devices),
        "mesh": dict(mesh.shape),
        "dtype": config.model.dtype,
        "remat": config.model.remat,
    }
    if what == "train":
        tokens = config.data.batch_tokens
        tokens = tokens if tokens_per_device is None else tokens_per_device * len(devices)
        shape = compiling.training_batch(config, mesh, tokens, length)
        lowered = compiling.lower_training(config, mesh, shape)
        work, loop_trips = shape.rows, 1
        flops = work * training_flops(config.model, config.data.vocab_size, length, length)
        target_tokens = shape.rows * length
        record["batch"] = {
            "rows": shape.rows,
            "source_length": length,
            "target_length": length,
            "packed": config.data.packing,
            "target_tokens": target_tokens,
            "target_tokens_per_device": target_tokens / len(devices),
        }
    else:
        slots, shape = compiling.decoding_batch(config, mesh, length)
        lowered = compiling.lower_decoding(config, mesh, slots, shape)
        # Every output is taken to be as long as its source: so many steps for all slots in turn.
        loop_trips = length * math.ceil(shape.rows / slots)
        flops = shape.rows * _decoding_flops(config, length)
        target_tokens = shape.rows * length
        record["batch"] = {
            "sentences": shape.rows,
            "at_a_time": slots,
            "source_length": length,
            "target_length": length,
            "beam_size": config.decoding.beam_size,
        }
    record |= {
        "parameters": sum(math.prod(x.shape) for x in jax.tree.leaves(lowered.state.params)),
        "flops": flops,
    }
    started = time.time()
    state = _state_bytes(lowered.state, training=what == "train")
    try:
        compiled = compiling.compile_program(lowered.lowered, mesh)
    except compiling.OutOfMemory as error:
        memory = state | {"needed": error.needed, "available": error.available}
        return record | {
            "fits": False,
            "bytes_per_device": memory,
            "compile_seconds": round(time.time() - started, 1),
        }
    seconds = round(time.time() - started, 1)
    memory = state | _memory(compiled, topology)
    program = parse(compiled.as_text())
    places = places_of(topology, list(mesh.devices.flat))
    found = estimate(program, topology.accelerator, places, topology.torus, loop_trips)
    totals = collectives(program, len(devices), loop_trips)
    record |= {
        "fits": memory["needed"] <= memory["available"],
        "bytes_per_device": memory,
        "collectives": {
            kind: {"count": t.count, "bytes": t.bytes, "sent_bytes": round(t.sent_bytes)}
            for kind, t in sorted(totals.items())
        },
        "program_flops_per_device": found.flops,
        "kernels_without_flops": kernels_without_flops(program, loop_trips),
        "arithmetic_intensity": round(found.flops / max(found.memory_bytes, 1), 1),
        "compile_seconds": seconds,
    }
    timing = _timing(found, flops, target_tokens, config, topology)
    roofline = roofline_seconds(found, topology.accelerator)
    timing["roofline_seconds"] = round(roofline, 6)
    timing["roofline_mfu"] = round(flops / roofline / _peak(config, topology), 4)
    if own := compiler_seconds(program, topology.accelerator, loop_trips):
        timing["compiler_seconds"] = round(own + found.collective_wait_seconds, 6)
    if what == "train":
        timing["steps"] = config.training.num_steps
        timing["hours"] = round(config.training.num_steps * found.seconds / 3600, 2)
    stated = assumptions(topology.accelerator)
    if record["kernels_without_flops"]:
        stated.append("kernels_without_flops take as long as their memory traffic")
    if what == "decode":
        stated.append("every output has as many tokens as its source, and no slot is ever empty")
    return record | {"estimate": timing | {"assumptions": stated}}


def _state_bytes(state: TrainState, training: bool) -> dict[str, int]:
    """What is there before the program starts."""
    held = {"parameters": compiling.bytes_on_device(state.params)}
    if training:
        held["optimizer"] = compiling.bytes_on_device(state.opt_state)
        held["average"] = compiling.bytes_on_device(state.ema)
    return held


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


def _decoding_flops(config: Config, length: int) -> float:
    """Of one sentence: its source once, its output once for each hypothesis."""
    model, vocab_size = config.model, config.data.vocab_size
    source = forward_flops(model, vocab_size, length, 0)
    hypothesis = forward_flops(model, vocab_size, length, length) - source
    beams = config.decoding.beam_size if config.decoding.strategy == "beam" else 1
    return source + beams * hypothesis


def _timing(
    found: Estimate, flops: float, target_tokens: int, config: Config, topology: Topology
) -> dict[str, Any]:
    return {
        "label": "estimate, nothing was run",
        "seconds": round(found.seconds, 6),
        "product_seconds": round(found.product_seconds, 6),
        "memory_seconds": round(found.memory_seconds, 6),
        "start_seconds": round(found.start_seconds, 6),
        "copy_wait_seconds": round(found.copy_wait_seconds, 6),
        "collective_seconds": round(found.collective_seconds, 6),
        "collective_wait_seconds": round(found.collective_wait_seconds, 6),
        "target_tokens_per_second": round(target_tokens / found.seconds),
        "mfu": round(flops / found.seconds / _peak(config, topology), 4),
    }


def _peak(config: Config, topology: Topology) -> float:
    """FLOP/s of all chips in the dtype that the model computes in."""
    accelerator = topology.accelerator
    half = config.model.dtype == "bfloat16" and accelerator.bfloat16_flops
    return (half or accelerator.float32_flops) * topology.chips
