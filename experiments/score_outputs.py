"""Scores outputs against a reference: all scorers in one table, significance, and statistics.

    python experiments/score_outputs.py --source=test.en --reference=test.de \
        --hypothesis=base.txt --hypothesis=big.txt --worst=10
    python experiments/score_outputs.py --test_set=wmt14/full --language_pair=en-de \
        --hypothesis=base.txt

The files hold detokenised text, a sentence a line. The first hypothesis is the baseline that the
others are compared with. docs/scores.md says what the columns are and what may be compared.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags

from experiments import cli, tables
from experiments.tables import table
from transformer.data.corpus import read_lines, read_pairs
from transformer.errors import UserError
from transformer.evaluation import public_sets
from transformer.evaluation.bleu import Scores, score
from transformer.evaluation.significance import Significance, compare
from transformer.evaluation.statistics import Statistics, statistics, worst_sentences

HYPOTHESIS = flags.DEFINE_multi_string(
    "hypothesis", None, "an output to score (.gz too); repeat it to compare several", required=True
)
REFERENCE = flags.DEFINE_string("reference", None, "the translation, line by line")
SOURCE = flags.DEFINE_string("source", None, "the text translated, for untranslated words")
TEST_SET = flags.DEFINE_string(
    "test_set", None, "instead of --source and --reference: sacreBLEU's, for example wmt14/full"
)
LANGUAGE_PAIR = flags.DEFINE_string("language_pair", None, "of --test_set, for example en-de")
LANGUAGE = flags.DEFINE_string(
    "language", None, "of the outputs, for Moses; default: --language_pair's target, or de"
)
TOKENIZE = flags.DEFINE_string("tokenize", "13a", "sacreBLEU's tokenizer of the first column")
WORST = flags.DEFINE_integer("worst", 0, "show so many worst sentences of each", lower_bound=0)
FORMAT = tables.format_flag("text", "markdown", "json")

COLUMNS = {
    "bleu_intl": "BLEU intl",
    "chrf": "chrF2",
    "ter": "TER",
    "paper_bleu": "paper's BLEU",
    "paper_bleu_quotes": "paper's, quotes",
}


class Text(NamedTuple):
    """What the outputs are measured by."""

    name: str
    source: list[str] | None
    reference: list[str]
    language: str


class System(NamedTuple):
    """One output and what was found."""

    name: str
    lines: list[str]
    scores: Scores
    statistics: Statistics


def main() -> None:
    """See the module's docstring."""
    text = _text()
    outputs = [_output(path, text) for path in HYPOTHESIS.value]
    systems = [
        System(
            path,
            lines,
            score(lines, text.reference, TOKENIZE.value, text.language),
            statistics(lines, text.reference, text.source),
        )
        for path, lines in zip(HYPOTHESIS.value, outputs, strict=True)
    ]
    baseline, *others = outputs
    tests = compare(baseline, others, text.reference, TOKENIZE.value) if others else None
    worst = [_worst(system, text) for system in systems]
    if FORMAT.value == "json":
        print(json.dumps(_json(text, systems, tests, worst), indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(_report(text, systems, tests, worst)))


def _text() -> Text:
    if (TEST_SET.value is None) == (REFERENCE.value is None):
        raise UserError("Name what to score against: either --reference=FILE or --test_set=NAME.")
    if TEST_SET.value is None:
        if LANGUAGE_PAIR.value is not None:
            raise UserError("--language_pair belongs to --test_set; --language names the outputs'.")
        path, source = REFERENCE.value, None
        if SOURCE.value is None:
            reference = read_lines(path)
        else:
            source, reference = map(list, read_pairs(SOURCE.value, path))
        if not reference:
            raise UserError(f"{path} is empty: there is nothing to score against.")
        return Text(path, source, reference, LANGUAGE.value or "de")
    if LANGUAGE_PAIR.value is None or SOURCE.value is not None:
        raise UserError("--test_set takes --language_pair, for example en-de, and no --source.")
    public = public_sets.load(TEST_SET.value, LANGUAGE_PAIR.value)
    language = LANGUAGE.value or LANGUAGE_PAIR.value.rpartition("-")[2]
    return Text(public.title, public.source, public.reference, language)


def _output(path: str, text: Text) -> list[str]:
    lines = read_lines(path)
    if len(lines) != len(text.reference):
        hint = public_sets.edition_hint(TEST_SET.value, len(lines)) if TEST_SET.value else ""
        raise UserError(
            f"{path} has {len(lines)} lines and {text.name} has {len(text.reference)}; "
            f"line n of an output must be the translation of line n{hint}."
        )
    return lines


def _worst(system: System, text: Text) -> list[dict[str, Any]]:
    found = []
    for line, chrf in worst_sentences(system.lines, text.reference, WORST.value):
        sentence = {"line": line, "chrf": chrf}
        if text.source is not None:
            sentence["source"] = text.source[line - 1]
        sentence["reference"] = text.reference[line - 1]
        found.append(sentence | {"output": system.lines[line - 1]})
    return found


def _json(
    text: Text,
    systems: Sequence[System],
    tests: Significance | None,
    worst: Sequence[list[dict[str, Any]]],
) -> dict[str, Any]:
    rows = []
    for system, sentences in zip(systems, worst, strict=True):
        counts = {"statistics": dataclasses.asdict(system.statistics), "worst": sentences}
        rows.append({"name": system.name} | system.scores.to_json() | counts)
    result = {"reference": text.name, "sentences": len(text.reference), "systems": rows}
    if tests is not None:
        for row, comparison in zip(rows[1:], tests.comparisons, strict=True):
            row["against_baseline"] = comparison._asdict()
        result |= {
            "baseline": systems[0].name,
            "bootstrap_signature": tests.bootstrap_signature,
            "randomization_signature": tests.randomization_signature,
        }
    return result


def _report(
    text: Text,
    systems: Sequence[System],
    tests: Significance | None,
    worst: Sequence[list[dict[str, Any]]],
) -> list[str]:
    """The paragraphs of the report."""
    columns = {"bleu": f"BLEU {TOKENIZE.value}"} | COLUMNS
    names = [system.name for system in systems]
    rows = [[s.name, *(f"{getattr(s.scores, key).score:.2f}" for key in columns)] for s in systems]
    signatures = [(name, getattr(systems[0].scores, key)[1]) for key, name in columns.items()]
    report = [
        f"{text.name}, {len(text.reference):,} sentences",
        table(["system", *columns.values()], rows, FORMAT.value),
    ]
    if tests is not None:
        signatures += [("bootstrap", tests.bootstrap_signature)]
        signatures += [("randomisation", tests.randomization_signature)]
        rows = [
            [name, f"{c.difference:+.2f}", f"{c.bootstrap_p:.4f}", f"{c.randomization_p:.4f}"]
            for name, c in zip(names[1:], tests.comparisons, strict=True)
        ]
        heads = [f"{columns['bleu']} against {names[0]}", "difference"]
        heads += ["p, bootstrap", "p, randomisation"]
        report.append(table(heads, rows, FORMAT.value))
    heads = ["system", "length ratio", "much shorter", "much longer", "repeated", "untranslated"]
    rows = [[s.name, *_cells(s.statistics)] for s in systems]
    report.append(table(heads, rows, FORMAT.value))
    report.append("Signatures:")
    report.append("\n".join(f"    {name:<15} {signature}" for name, signature in signatures))
    for system, sentences in zip(systems, worst, strict=True):
        if sentences:
            report.append(f"Worst sentences of {system.name} by sentence-level chrF2:")
        report += map(_sentence, sentences)
    return report


def _cells(found: Statistics) -> list[str]:
    ratio, *shares = dataclasses.astuple(found)
    return [f"{ratio:.3f}", *("-" if s is None else f"{s:.2%}" for s in shares)]


def _sentence(sentence: dict[str, Any]) -> str:
    """A sentence, indented as Markdown has code: its characters stand as they are."""
    head = f"    line {sentence['line']}, chrF2 {sentence['chrf']:.2f}"
    texts = (key for key in ("source", "reference", "output") if key in sentence)
    return "\n".join([head, *(f"    {key:<9}  {sentence[key]}" for key in texts)])


if __name__ == "__main__":
    cli.run(main)
