"""Measures training or decoding of a config on its own data: JSON lines on stdout.

    python experiments/benchmark.py --config=configs/demo.py --what=train --steps=50
    python experiments/benchmark.py --config=configs/demo.py --what=decode --workdir=runs/demo

Tokens are real target tokens: padding never counts. A first line says what happens once (set-up,
compilation), a line follows for each round, and the last gives the medians of the rounds. Training
goes through the batches in its own order; decoding translates the validation sentences, with the
weights of --workdir or, without one, with random weights, which write up to the limit of length.
"""

import dataclasses
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from absl import flags

from experiments import cli  # before JAX

import jax  # isort: skip

from transformer.config import Config
from transformer.data.batching import Batch
from transformer.data.corpus import load_corpus
from transformer.data.tokenizer import EOS
from transformer.decoding.translate import Translator
from transformer.model.encoder_decoder import split
from transformer.sharding import make_mesh, put_batch
from transformer.training.load import load
from transformer.training.prepare import prepare_data
from transformer.training.step import abstract_model, make_init, make_train_step

Round = Callable[[], tuple[float, float]]  # does a round; counts target tokens and sentences

LOAD_CONFIG = cli.config_flag()
WHAT = flags.DEFINE_enum("what", "train", ["train", "decode"], "what to measure")
STEPS = flags.DEFINE_integer("steps", 30, "training steps, or sentences, a round", lower_bound=1)
ROUNDS = flags.DEFINE_integer("rounds", 3, "rounds of which the medians are taken", lower_bound=1)
WORKDIR = flags.DEFINE_string("workdir", None, "decode with the weights of this run")


def main() -> None:
    """See the module's docstring."""
    started = time.time()
    config = LOAD_CONFIG()
    prepared, round_of = (_training if WHAT.value == "train" else _decoding)(config)
    _print({"what": WHAT.value, "ready_seconds": _since(started)} | prepared)
    records = []
    for _ in range(ROUNDS.value):
        wall, cpu = time.perf_counter(), time.process_time()
        tokens, sentences = round_of()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        records.append(
            {
                "seconds": round(wall, 3),
                "cpu_seconds": round(cpu, 3),
                "target_tokens_per_second": round(tokens / wall, 1),
                "target_tokens_per_cpu_second": round(tokens / cpu, 1),
                "sentences_per_second": round(sentences / wall, 1),
            }
        )
        _print(records[-1])
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
    data, tokenizer = prepare_data(config, mesh, None, _say)
    init, shardings = make_init(config, tokenizer.vocab_size, mesh)
    train_step = make_train_step(config, tokenizer.vocab_size, mesh, shardings)
    started = time.time()
    state = jax.block_until_ready(init())
    prepared = {"init_seconds": _since(started)}

    def train(batches: Iterable[Batch]) -> tuple[float, float]:
        nonlocal state
        tokens, sentences = [], 0
        with jax.set_mesh(mesh):
            for batch in batches:
                sentences += int((batch.target_out == EOS).sum())
                state, metrics = train_step(state, put_batch(mesh, batch))
                tokens.append(metrics.tokens)
        return sum(map(float, tokens)), sentences

    plan, of_shape = data.epoch_plan(0), {}
    for index in range(data.steps_per_epoch):
        batch = data.batch(plan, index)
        of_shape.setdefault(batch.source.shape + batch.target_in.shape, batch)
        if len(of_shape) == len(data.shapes):
            break
    started = time.time()
    train(of_shape.values())
    stream = data.iterator()
    prepared |= {
        "compile_seconds": _since(started),
        "shapes": len(data.shapes),
        "padding_share": round(data.padding.share, 4),
    }
    return prepared, lambda: train(next(stream) for _ in range(STEPS.value))


def _decoding(config: Config) -> tuple[dict[str, Any], Round]:
    """Translates the first --steps validation sentences, each round the same."""
    mesh = make_mesh(config.mesh)
    if WORKDIR.value:
        wanted = {"decoding": config.decoding, "mesh": config.mesh}
        model = load([WORKDIR.value], change=lambda own: dataclasses.replace(own, **wanted))
        params, translator = model.params, model.translator
    else:
        _, tokenizer = prepare_data(config, mesh, None, _say)
        params = make_init(config, tokenizer.vocab_size, mesh)[0]().params
        graphdef, _ = split(abstract_model(config.model, tokenizer.vocab_size))
        translator = Translator(graphdef, tokenizer, config.decoding, config.data.max_length, mesh)
    lines = load_corpus(config.data, "validation", config.seed).source[: STEPS.value]

    def round_of() -> tuple[float, float]:
        translations = translator.translate(params, lines)
        return sum(len(t.ids[0]) for t in translations), len(lines)

    started = time.time()
    round_of()
    return {"sentences": len(lines), "first_round_seconds": _since(started)}, round_of


def _since(started: float) -> float:
    return round(time.time() - started, 2)


if __name__ == "__main__":
    cli.run(main)
