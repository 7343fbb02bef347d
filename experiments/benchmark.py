"""Measures training, decoding or the input pipeline of a config: JSON lines on stdout.

    python experiments/benchmark.py --config=configs/demo.py --what=train --steps=50
    python experiments/benchmark.py --config=configs/demo.py --what=decode --workdir=runs/demo
    python experiments/benchmark.py --config=configs/base.py --what=data --pairs=4500000

Tokens are real target tokens: padding never counts. A first line says what happens once (set-up,
compilation), a line follows for each round, and the last gives the medians of the rounds. Training
goes through the batches in its own order; `matmul_share` is the speed of its matrix products,
worked out from the real tokens, over that of one large product of the same type, timed in the same
round. Decoding translates the validation sentences, with the weights of --workdir or, without one,
with random weights, which write up to the limit of length. The pipeline makes batches and nothing
more; with --pairs, of so many pairs of random ids, written to a temporary folder, whose lengths are
log-normal with a mean of 29 tokens.
"""

import atexit
import dataclasses
import functools
import json
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from absl import flags

from experiments import cli  # before JAX

import grain  # isort: skip
import jax  # isort: skip
import jax.numpy as jnp  # isort: skip
import numpy as np  # isort: skip

from transformer.config import Config
from transformer.data.batching import Batch
from transformer.data.corpus import load_corpus
from transformer.data.pipeline import plan_train_data
from transformer.data.prepared import LENGTHS, PairsWriter, PreparedPairs
from transformer.data.tokenizer import EOS, Pairs, Sentences
from transformer.decoding.translate import Translator
from transformer.model.encoder_decoder import split
from transformer.model.flops import training_flops
from transformer.sharding import make_mesh, platform, put_batch
from transformer.training.compiler import training_options
from transformer.training.load import load
from transformer.training.prepare import prepare_data, prepare_start, row_multiple
from transformer.training.step import abstract_model, make_init, make_train_step


class Work(NamedTuple):
    """What a round did."""

    tokens: float  # real ones of the target side
    sentences: float
    flops: float = 0.0  # of the model's matrix products; 0: not known


Round = Callable[[], Work]

LOAD_CONFIG = cli.config_flag()
WHAT = flags.DEFINE_enum("what", "train", ["train", "decode", "data"], "what to measure")
STEPS = flags.DEFINE_integer("steps", 30, "batches, or sentences, a round", lower_bound=1)
ROUNDS = flags.DEFINE_integer("rounds", 3, "rounds of which the medians are taken", lower_bound=1)
WORKDIR = flags.DEFINE_string("workdir", None, "decode with the weights of this run")
PAIRS = flags.DEFINE_integer("pairs", 0, "batches of so many random pairs", lower_bound=0)


def main() -> None:
    """See the module's docstring."""
    started = time.time()
    config = LOAD_CONFIG()
    begin = {"train": _training, "decode": _decoding, "data": _reading}[WHAT.value]
    prepared, round_of = begin(config)
    _print({"what": WHAT.value, "ready_seconds": _since(started)} | prepared)
    product_speed = _product_speed(config) if WHAT.value == "train" else None
    records = []
    for _ in range(ROUNDS.value):
        product = product_speed and product_speed()
        wall, cpu = time.perf_counter(), time.process_time()
        work = round_of()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        record = {
            "seconds": round(wall, 6),
            "cpu_seconds": round(cpu, 6),
            "target_tokens_per_second": round(work.tokens / wall, 1),
            "target_tokens_per_cpu_second": round(work.tokens / cpu, 1),
            "sentences_per_second": round(work.sentences / wall, 1),
        }
        if product:
            record["model_gflops_per_second"] = round(work.flops / wall / 1e9, 1)
            record["matmul_gflops_per_second"] = round(product / 1e9, 1)
            record["matmul_share"] = round(work.flops / wall / product, 4)
        records.append(record)
        _print(record)
    medians = {k: statistics.median(r[k] for r in records) for k in records[0]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _print({"median_of": ROUNDS.value} | medians | {"peak_memory_mib": round(peak)})


def _print(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _training(config: Config) -> tuple[dict[str, Any], Round]:
    """Takes --steps steps a round, of the batches that training itself would take."""
    mesh = make_mesh(config.mesh)
    rows = row_multiple(config, mesh)
    data, tokenizer, init, shardings = prepare_start(config, None, mesh, rows, _say)
    train_step = make_train_step(config, tokenizer.vocab_size, mesh, shardings)
    started = time.time()
    with jax.set_mesh(mesh):
        state = jax.block_until_ready(init())
    prepared = {"init_seconds": _since(started)}

    def train(batches: Iterable[Batch]) -> Work:
        nonlocal state
        tokens, sentences, flops = [], 0, 0.0
        with jax.set_mesh(mesh):
            for batch in batches:
                pairs = _pairs_in(batch)
                sentences += pairs
                flops += pairs * training_flops(
                    config.model,
                    tokenizer.vocab_size,
                    (batch.source_segments > 0).sum() / pairs,
                    (batch.target_segments > 0).sum() / pairs,
                )
                state, metrics = train_step(state, put_batch(mesh, batch))
                tokens.append(metrics.tokens)
        return Work(sum(map(float, tokens)), sentences, float(flops))

    plan, of_shape = data.epoch_plan(0), {}
    for index in range(data.steps_per_epoch):
        batch = data.batch(plan, index)
        of_shape.setdefault(batch.source.shape + batch.target_in.shape, batch)
        if len(of_shape) == len(data.shapes):
            break
    started = time.time()
    first, *others = of_shape.values()
    train([first])
    prepared["first_step_seconds"] = _process_age()
    train(others)
    stream = data.iterator()
    prepared |= {
        "compile_seconds": _since(started),
        "shapes": len(data.shapes),
        "padding_share": round(data.padding.share, 4),
    }
    return prepared, lambda: train(next(stream) for _ in range(STEPS.value))


def _decoding(config: Config) -> tuple[dict[str, Any], Round]:
    """Translates the first --steps validation sentences, each round the same."""
    lines = load_corpus(config.data, "validation", config.seed).source[: STEPS.value]
    mesh = make_mesh(config.mesh)
    if WORKDIR.value:
        wanted = {"decoding": config.decoding, "mesh": config.mesh}
        model = load([WORKDIR.value], change=lambda own: dataclasses.replace(own, **wanted))
        params, translator = model.params, model.translator
    else:
        _, tokenizer = prepare_data(config, None, row_multiple(config, mesh), _say)
        params = make_init(config, tokenizer.vocab_size, mesh)[0]().params
        graphdef, _ = split(abstract_model(config.decoding_model, tokenizer.vocab_size))
        translator = Translator(graphdef, tokenizer, config.decoding, config.data.max_length, mesh)

    def round_of() -> Work:
        translations = translator.translate(params, lines)
        return Work(sum(len(t.ids[0]) for t in translations), len(lines))

    started = time.time()
    round_of()
    return {"sentences": len(lines), "first_round_seconds": _since(started)}, round_of


def _reading(config: Config) -> tuple[dict[str, Any], Round]:
    """Makes the batches of --steps steps a round, as training would take them."""
    if PAIRS.value:
        folder = tempfile.TemporaryDirectory(prefix="transformer-pairs-")
        atexit.register(folder.cleanup)  # batches are read from it to the end
        pairs = _random_pairs(pathlib.Path(folder.name), PAIRS.value, config)
        started = time.time()
        data = plan_train_data(config.data, pairs, config.seed)
    else:
        started = time.time()
        data, _ = prepare_data(config, None, row_multiple(config, make_mesh(config.mesh)), _say)
    stream = data.iterator()
    next(stream)
    prepared = {
        "pairs": data.num_pairs,
        "first_batch_seconds": _since(started),
        "padding_share": round(data.padding.share, 4),
    }

    def round_of() -> Work:
        batches = [next(stream) for _ in range(STEPS.value)]
        tokens = sum(int((batch.target_segments > 0).sum()) for batch in batches)
        return Work(tokens, sum(map(_pairs_in, batches)))

    return prepared, round_of


def _pairs_in(batch: Batch) -> int:
    return int((batch.target_out == EOS).sum())


def _random_pairs(folder: pathlib.Path, count: int, config: Config) -> PreparedPairs:
    """Pairs on disk. Their lengths are log-normal with a mean of 29, cut to what is kept."""
    random, dtype = np.random.default_rng(0), np.min_scalar_type(config.data.vocab_size - 1)
    writer = PairsWriter(folder, dtype)
    for start in range(0, count, 100_000):
        drawn = random.lognormal(3.2, 0.6, min(100_000, count - start))
        ratio = random.lognormal(0.0, 0.15, len(drawn))

        def side(wanted: np.ndarray) -> Sentences:
            lengths = np.clip(wanted, 2, config.data.max_length).astype(np.int64)
            offsets = np.append(0, np.cumsum(lengths))
            ids = random.integers(EOS + 1, config.data.vocab_size, offsets[-1]).astype(dtype)
            ids[offsets[1:] - 1] = EOS
            return Sentences(ids, offsets)

        writer.add(Pairs(side(drawn), side(drawn * ratio)))
        _say(f"{start + len(drawn):,} of {count:,} pairs written")
    writer.close()
    files = sorted(map(str, folder.glob("*.array_record")))
    records = grain.sources.ArrayRecordDataSource(files)
    return PreparedPairs(records, np.load(folder / LENGTHS), dtype, (0, 1))


def _product_speed(config: Config) -> Callable[[], float]:
    """Times a large square product: operations a second of all devices, in the model's dtype."""
    mesh = make_mesh(config.mesh)
    size, times = (2_048, 4) if platform(mesh) == "cpu" else (8_192, 20)

    @functools.partial(jax.jit, compiler_options=training_options(config.model, mesh))
    def products(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, times, lambda _, y: (x @ y).astype(x.dtype), x)

    x = jnp.eye(size, dtype=config.model.dtype)
    jax.block_until_ready(products(x))

    def speed() -> float:
        started = time.perf_counter()
        jax.block_until_ready(products(x))
        seconds = time.perf_counter() - started
        return times * 2 * size**3 / seconds * mesh.devices.size

    return speed


def _process_age() -> float | None:
    """Seconds since the process started, Python and its imports included; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    started = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    uptime = pathlib.Path("/proc/uptime").read_text().split()[0]
    return round(float(uptime) - int(started) / os.sysconf("SC_CLK_TCK"), 2)


def _since(started: float) -> float:
    return round(time.time() - started, 2)


if __name__ == "__main__":
    cli.run(main)
