"""Trains, translates and scores on a mesh DATA x FSDP x TENSOR of virtual devices.

    python tests/sharding_child.py DATA FSDP TENSOR FILE

Writes to FILE (numpy's npz) what tests/test_sharding.py compares: gradients, and as JSON losses,
layouts of named arrays, translations, scores, and the collectives of what was compiled.
"""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from tests.test_step import config_with
from transformer.config import Config, MeshConfig
from transformer.data.batching import Batch
from transformer.data.tokenizer import EOS, Tokenizer
from transformer.decoding.forced import ForcedScorer
from transformer.decoding.translate import Translation, Translator
from transformer.hardware.hlo import parse
from transformer.hardware.program import COLLECTIVES
from transformer.model import encoder_decoder
from transformer.model.encoder_decoder import split
from transformer.sharding import make_mesh, put_batch
from transformer.training.step import abstract_model, make_init, make_train_step

EVEN, ODD = 1_024, 1_021  # vocabularies: eight divides the first
ROWS, SOURCE, TARGET = 128, 24, 32  # two chunks of the loss, even on each of eight devices
D_MODEL, BEAM = 32, 2


def collectives(text: str) -> list[list]:
    """[kind, whether a loop repeats it, shapes of its results] of all that move arrays.

    Scalars are left out.
    """
    computations = parse(text).computations
    instructions = [(name, i) for name, inside in computations.items() for i in inside.values()]
    loops = {i.attribute("body") for _, i in instructions if i.opcode == "while"}
    found = []
    for name, instruction in instructions:
        kind = instruction.opcode.removesuffix("-start")
        shapes = [list(array.shape) for array in instruction.result if array.shape]
        if kind in COLLECTIVES and shapes:
            found.append([kind, name in loops, shapes])
    return found


class Numbers(Tokenizer):
    """A tokenizer whose pieces are numbers."""

    def __init__(self):
        pass

    def encode(self, texts):
        return [[int(word) for word in text.split()] for text in texts]

    def decode(self, ids):
        return [" ".join(str(i) for i in row if i != EOS) for row in ids]


class Recorded:
    """A jitted function whose compiled texts are kept."""

    def __init__(self, jitted):
        self.jitted, self.programs, self.texts = jitted, {}, []

    def __call__(self, *arguments, **static):
        key = str(jax.tree.map(np.shape, arguments)), *static.items()
        if key not in self.programs:
            self.programs[key] = self.jitted.lower(*arguments, **static).compile()
            self.texts.append(self.programs[key].as_text())
        return self.programs[key](*arguments)


def make_config() -> Config:
    sizes = {"d_model": D_MODEL, "d_ff": 128, "num_heads": 8, "d_k": 4, "d_v": 6}
    return config_with(model=sizes | {"dropout_rate": 0.2}, ema_decay=0.9)


def make_batch(vocab_size: int) -> Batch:
    random = np.random.default_rng(0)
    source, target_in, target = (
        random.integers(4, vocab_size, (ROWS, length)).astype(np.int32)
        for length in (SOURCE, TARGET, TARGET)
    )
    lengths = 1 + np.arange(ROWS) % TARGET  # uneven: a mean of means would be another mean
    real = (np.arange(TARGET) < lengths[:, None]).astype(np.int32)
    return Batch(source, np.ones_like(source), None, target_in, target, real, None)


def train(config: Config, vocab_size: int, mesh: jax.sharding.Mesh):
    """Losses, the first step's gradients, collectives, the state of step 3, initial parameters."""
    init, shardings = make_init(config, vocab_size, mesh)
    step = make_train_step(config, vocab_size, mesh, shardings)
    state, batch = init(), put_batch(mesh, make_batch(vocab_size))
    params = jax.tree.map(jnp.copy, state.params)  # the step takes the state's own buffers
    compiled = step.func.lower(*step.args, state, batch).compile()
    losses = []
    for done in range(3):
        state, metrics = compiled(*step.args, state, batch)
        losses.append(float(metrics.loss))
        if done == 0:
            # Adam's first moment is a tenth of the gradient by then.
            leaves = jax.tree.leaves_with_path(state.opt_state[0].mu)
            gradients = {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}
    return losses, gradients, collectives(compiled.as_text()), state, params


def shards(state) -> dict[str, list]:
    """Of the parameters, Adam's moments and the average: [shape, shape of a device's part]."""
    adam = state.opt_state[0]
    trees = {"params": state.params, "mu": adam.mu, "nu": adam.nu, "ema": state.ema}
    return {
        jax.tree_util.keystr(path): [leaf.shape, leaf.sharding.shard_shape(leaf.shape)]
        for path, leaf in jax.tree.leaves_with_path(trees)
    }


def as_json(translation: Translation) -> list:
    return [translation.ids, translation.scores, translation.token_log_probs]


def search(config: Config, vocab_size: int, mesh: jax.sharding.Mesh, params):
    """Translations of several numbers of lines, samples, forced scores, and the collectives."""
    graphdef = split(abstract_model(config.model, vocab_size))[0]
    random = np.random.default_rng(1)
    lines = [
        " ".join(map(str, random.integers(4, vocab_size, random.integers(1, 16))))
        for _ in range(50)
    ]
    decoding = dataclasses.replace(
        config.decoding, beam_size=BEAM, max_extra_length=12, batch_tokens=8 * BEAM * 28
    )
    translator = Translator(graphdef, Numbers(), decoding, 16, mesh)
    translator._decode = recorded = Recorded(translator._decode)
    found = {
        str(count): [as_json(t) for t in translator.translate(params, lines[:count], nbest=2)]
        for count in (1, 3, 50)
    }
    sampler = Translator(
        graphdef, Numbers(), dataclasses.replace(decoding, strategy="sample"), 16, mesh
    )
    found["samples"] = [as_json(t) for t in sampler.translate(params, lines[:5], nbest=2)]
    scorer = ForcedScorer(graphdef, Numbers(), 128, mesh)
    long = [line for line in lines if len(line.split()) >= 8]  # one shape to compile
    scored = scorer.score(params, long[:9], long[9:18])
    found["forced"] = [[ids, scores.tolist()] for ids, scores in scored]
    return found, [collectives(text) for text in recorded.texts]


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 8)
    sizes = [int(size) for size in sys.argv[1:4]]
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    config, arrays, result = make_config(), {}, {}
    with jax.set_mesh(mesh):
        for vocab_size in (EVEN, ODD) if sizes[:2] == [1, 1] else (ODD,):
            losses, gradients, moved, state, params = train(config, vocab_size, mesh)
            arrays |= {f"{vocab_size}{name}": value for name, value in gradients.items()}
            result[str(vocab_size)] = {
                "losses": losses, "collectives": moved, "shards": shards(state)
            }  # fmt: skip
    result["found"], result["search_collectives"] = search(config, ODD, mesh, params)
    np.savez(sys.argv[4], result=json.dumps(result), **arrays)


if __name__ == "__main__":
    # As a wide model decodes.
    encoder_decoder._TURNED_WIDTH = encoder_decoder._TURNED_ROWS = 0
    main()
