"""The whole way in minutes: trains configs/demo.py, scores it, and translates a few sentences.

    python experiments/demo.py

It trains on the built-in English-German grammar in runs/demo (--workdir), or goes on with what that
folder holds, and scores two held-out sets: sentences of the kind that training shows, and sentences
with combinations of words or depths of nesting that it never shows.
"""

import json
import pathlib
import time

from absl import flags

from experiments import cli
from transformer import files
from transformer.data.grammar import pairs
from transformer.evaluation.bleu import score
from transformer.training.load import TrainedModel, load
from transformer.training.loop import train
from transformer.training.metrics import Progress

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "demo.py"
WORKDIR = flags.DEFINE_string("workdir", "runs/demo", "folder of the run: made, or resumed")
PAIRS = flags.DEFINE_integer("pairs", 1000, "size of each held-out set", lower_bound=5)
LOAD_CONFIG = cli.config_flag(default=str(CONFIG))

HELD_OUT = {
    "test": "held-out sentences",
    "test_novel": "held-out sentences of kinds that training never shows",
}


def main() -> None:
    """See the module's docstring."""
    started = time.time()
    workdir = pathlib.Path(WORKDIR.value)
    train(LOAD_CONFIG(), workdir)
    trained = time.time()
    model = load([workdir])
    results = {split: _score(model, split) for split in HELD_OUT}
    sources, references = pairs("test", 5, model.config.seed)
    print("\nFive held-out sentences:")
    for source, reference, translation in zip(
        sources, references, model.translate(sources), strict=True
    ):
        verdict = "as the grammar has it" if translation.text == reference else reference
        print(f"  {source}\n  -> {translation.text}\n     ({verdict})")
    print()
    for split, name in HELD_OUT.items():
        result = results[split]
        print(f"{name}: BLEU {result['bleu']:.2f}, exact {result['exact_match']:.1%}")
    print(f"{results['test']['bleu_signature']}")
    print(f"training {trained - started:.0f} s, in all {time.time() - started:.0f} s")
    files.write(workdir / "demo.json", json.dumps(results, indent=2) + "\n")
    translate = f".venv/bin/python experiments/translate.py --workdir={workdir}"
    print(f"\nYour own: echo 'The old teacher reads a book.' | {translate}")


def _score(model: TrainedModel, split: str) -> dict:
    sources, references = pairs(split, PAIRS.value, model.config.seed)
    bar = Progress(len(sources), 0, unit="line")
    outputs = [t.text for t in model.translate(sources, progress=bar.reach)]
    bar.close()
    exact = sum(a == b for a, b in zip(outputs, references, strict=True)) / len(references)
    return score(outputs, references).to_json() | {"exact_match": exact}


if __name__ == "__main__":
    cli.run(main)
