"""What the run was scored with: validations, evaluations, and samples of its translations."""

from transformer.reporting.run import Record, Run
from transformer.reporting.wording import count
from transformer.visualization.html import Content, Element, element, paragraph, table

_METRICS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "ter": "TER (lower is better)",
    "paper_bleu": "the paper's tokenised BLEU",
}


def list_scores(run: Run) -> list[Element]:
    """Every score with the signature that says how it was computed."""
    rows: list[list[Content]] = []
    if run.validation:
        last = run.validation[-1]
        best = max(run.validation, key=lambda record: record["bleu"])
        rows += _rows(f"validation, step {count(last['step'])}", last)
        if best is not last:
            rows += _rows(f"validation, step {count(best['step'])}, the best", best)
    for record in run.averages:
        what = f"validation, {record['kind']} checkpoints, step {count(record['step'])}"
        rows += _rows(what, record)
    for name, record in run.scores.items():
        rows += _rows(name, record)
    if not rows:
        return [paragraph("None yet: the run was not validated, and no evaluation was given.")]
    return [
        table(["weights and text", "score", "metric and signature"], rows, numbers=[1]),
        paragraph(
            "Two scores can be compared if they are of the same text and have the same signature.",
            class_="note",
        ),
    ]


def _rows(what: str, record: Record) -> list[list[Content]]:
    rows: list[list[Content]] = []
    for key, score in record.items():
        signature = record.get(f"{key}_signature")
        if isinstance(score, int | float) and isinstance(signature, str):
            metric = element(
                "div", _METRICS.get(key, key), element("code", signature, class_="signature")
            )
            rows.append(["" if rows else what, f"{score:.2f}", metric])
    return rows


def show_samples(run: Run) -> list[Element]:
    """Sources and outputs of the last validation."""
    if not run.final:
        return [paragraph("None yet: the run was not validated.")]
    source_language, target_language = run.config.data.languages
    shown = []
    # Version 0.1.0 wrote a sample as one string.
    for sample in filter(lambda s: isinstance(s, dict), run.final.get("samples", [])):
        output = sample["translation"] or "(nothing)"
        shown.append(
            element(
                "div",
                paragraph(sample["source"], lang=source_language),
                paragraph("→ ", element("span", output, lang=target_language)),
                paragraph(
                    "reference: ",
                    element("span", sample["reference"], lang=target_language),
                    class_="note",
                ),
                class_="sample",
            )
        )
    note = f"The first validation sentences, as translated at step {count(run.final['step'])}"
    kind = run.final["kind"]
    suffix = "." if kind == "validation" else f" by the {kind} checkpoints."
    return [paragraph(note + suffix, class_="note"), *shown]
