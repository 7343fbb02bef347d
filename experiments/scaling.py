"""How the cost of a training step grows with its sizes, one at a time: tables on stdout.

    python experiments/scaling.py --config=configs/multi30k.py
    python experiments/scaling.py --config=configs/multi30k.py --factor=length --rounds=9

Batches are full rows of random ids. The sizes that do not vary are the config's: batch tokens,
vocabulary and layers, and a sentence length of 32 (--length). All steps of a table run in turns,
and the medians of the rounds are given. The last line is the exponent e of a cost that grows as
size^e, fitted to the table's larger half; beside time stand the operations of the matrix products,
which say what could be expected, and the bytes that the step needs beyond its arguments.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from absl import flags

from experiments import cli, tables  # before JAX

import jax  # isort: skip
import numpy as np  # isort: skip

from transformer.config import Config
from transformer.data.batching import Batch
from transformer.data.tokenizer import EOS, UNK
from transformer.errors import UserError
from transformer.model.flops import training_flops
from transformer.sharding import batch_shards, make_mesh, put_batch
from transformer.training.step import make_init, make_train_step

SHARES = (1 / 4, 1 / 2, 1, 2, 4)  # of the config's sizes
FACTORS = {  # name: heading, shares
    "length": ("sentence length, at equal batch tokens", (*SHARES, 8)),
    "tokens": ("batch tokens", SHARES),
    "vocabulary": ("vocabulary", SHARES),
    "layers": ("layers", SHARES),
}

LOAD_CONFIG = cli.config_flag()
FACTOR = flags.DEFINE_multi_enum("factor", list(FACTORS), list(FACTORS), "what varies")
LENGTH = flags.DEFINE_integer("length", 32, "tokens of a sentence", lower_bound=4)
ROUNDS = flags.DEFINE_integer("rounds", 5, "steps of each size", lower_bound=1)
FORMAT = tables.format_flag("text", "markdown")


class Sizes(NamedTuple):
    """What a step's cost depends on."""

    length: int
    tokens: int
    vocabulary: int
    layers: int


class Cost(NamedTuple):
    """Of one training step."""

    seconds: float
    flops: float
    temporary_bytes: int


def main() -> None:
    """See the module's docstring."""
    config = LOAD_CONFIG()
    centre = Sizes(
        LENGTH.value, config.data.batch_tokens, config.data.vocab_size, config.model.num_layers
    )
    _check_positions(config)
    for factor in FACTOR.value:
        heading, shares = FACTORS[factor]
        least = UNK + 1 if factor == "vocabulary" else 1
        values = sorted({max(least, round(getattr(centre, factor) * share)) for share in shares})
        costs = measure(config, [centre._replace(**{factor: value}) for value in values])
        head = [heading, "ms a step", "GFLOP a step", "GFLOP/s", "temporary MiB"]
        rows = [
            [
                f"{value:,}",
                f"{1e3 * cost.seconds:,.0f}",
                f"{cost.flops / 1e9:,.1f}",
                f"{cost.flops / cost.seconds / 1e9:,.0f}",
                f"{cost.temporary_bytes / 2**20:,.0f}",
            ]
            for value, cost in zip(values, costs, strict=True)
        ]
        larger = slice(len(values) // 2, None) if len(values) > 3 else slice(None)
        seconds, flops, memory = (
            exponent(values[larger], column[larger]) for column in zip(*costs, strict=True)
        )
        rows.append(["exponent", f"{seconds:.2f}", f"{flops:.2f}", "", f"{memory:.2f}"])
        print(tables.table(head, rows, FORMAT.value), flush=True)
        print()


def _check_positions(config: Config) -> None:
    """Raises UserError if the longest sentence has more tokens than there are learned positions."""
    shares = FACTORS["length"][1] if "length" in FACTOR.value else [1]
    longest, most = LENGTH.value * max(shares), config.model.max_positions
    if config.model.positions == "learned" and longest > most:
        raise UserError(
            f"Sentences will have up to {longest} tokens, but config.model.max_positions is "
            f"{most}; raise it, or lower --length."
        )


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The e of the power c size^e that is nearest to the costs, by least squares of logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def measure(config: Config, all_sizes: Sequence[Sizes]) -> list[Cost]:
    """Costs of a step of each size, timed in turns."""
    steps = [_step(config, sizes) for sizes in all_sizes]
    times = [[] for _ in steps]
    for _ in range(ROUNDS.value):
        for (run, _, _), seconds in zip(steps, times, strict=True):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
    return [
        Cost(statistics.median(seconds), flops, temporary)
        for seconds, (_, flops, temporary) in zip(times, steps, strict=True)
    ]


def _step(config: Config, sizes: Sizes) -> tuple[Callable[[], None], float, int]:
    """A step that has run once, the operations of its products, and the bytes of temporaries."""
    model = dataclasses.replace(config.model, num_layers=sizes.layers)
    config = dataclasses.replace(config, model=model)
    mesh = make_mesh(config.mesh)
    init, shardings = make_init(config, sizes.vocabulary, mesh)
    train_step = make_train_step(config, sizes.vocabulary, mesh, shardings)
    multiple = batch_shards(mesh) * config.training.accumulate_steps
    rows = max(1, sizes.tokens // sizes.length // multiple) * multiple
    batch = put_batch(mesh, _full_batch(rows, sizes))
    with jax.set_mesh(mesh):
        state = init()
        compiled = train_step.func.lower(*train_step.args, state, batch).compile()

    def run() -> None:
        nonlocal state
        with jax.set_mesh(mesh):
            state, _ = jax.block_until_ready(compiled(*train_step.args, state, batch))

    run()
    flops = rows * training_flops(model, sizes.vocabulary, sizes.length, sizes.length)
    return run, float(flops), compiled.memory_analysis().temp_size_in_bytes


def _full_batch(rows: int, sizes: Sizes) -> Batch:
    random, shape = np.random.default_rng(0), (rows, sizes.length)

    def ids() -> np.ndarray:
        return random.integers(EOS, sizes.vocabulary, shape, dtype=np.int32)

    ones = np.ones(shape, np.int32)
    return Batch(ids(), ones, None, ids(), ids(), ones, None)


if __name__ == "__main__":
    cli.run(main)
