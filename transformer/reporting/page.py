"""The page of a run, section by section: model card, data, curves, scores, cost, how to repeat."""

import dataclasses
import shlex
from typing import Any

from transformer.reporting import card, scores
from transformer.reporting.cost import PAPER_ROWS, Cost, cost_of
from transformer.reporting.curves import draw, figures
from transformer.reporting.run import Run
from transformer.reporting.wording import count, duration, hours, power, share
from transformer.visualization.html import (
    Content,
    Element,
    code,
    document,
    element,
    facts,
    paragraph,
    table,
)

_NO_STATISTICS = (
    "The folder has no data.json; the training command, called once more, writes it, and changes "
    "nothing else in a finished run."
)


def render(run: Run) -> str:
    """The page as HTML: one string that refers to nothing outside.

    The same run gives the same page.

    Raises:
      UserError: matplotlib is not installed.
    """
    source, target = run.config.data.languages
    title = f"Transformer, {source} to {target}: {run.name}"
    cost = cost_of(run)
    body = [
        element("h1", title),
        paragraph(
            f"Model card and report of one training run, begun {_started(run)}.", class_="note"
        ),
        _tiles(run, cost),
        _section("Model card", *card.describe(run)),
        _section("Data", *_data(run, cost)),
        _section("Learning curves", *_curves(run, cost)),
        _section("Scores", *scores.list_scores(run)),
        _section("Samples", *scores.show_samples(run)),
        _section("Cost", *_cost(run, cost)),
        _section("Config", *_config(run)),
        _section("Environment", *_environment(run)),
        _section("To repeat it", *_commands(run)),
    ]
    return document(title, "en", body)


def _section(title: str, *content: Element) -> Element:
    return element("section", element("h2", title), *content)


def _started(run: Run) -> str:
    started = run.environment.get("started", "at a time that is not recorded")
    return started.replace("T", " ").replace("+00:00", " UTC")


def _tiles(run: Run, cost: Cost) -> Element:
    """The numbers that are asked for first."""
    steps = f"of {count(run.config.training.num_steps)} steps"
    tiles = [
        (count(run.parameters), "parameters"),
        (count(run.last_step), steps),
        (count(cost.target_tokens), "target tokens trained on"),
        (duration(cost.training_seconds), f"of training on {_devices(run)}"),
    ]
    if run.final:
        kind = "" if run.final["kind"] == "validation" else f", {run.final['kind']}"
        tiles.insert(0, (f"{run.final['bleu']:.2f}", f"validation BLEU{kind}"))
    if cost.seen:
        tiles.append((power(cost.seen.training_flops), "training FLOPs"))
    return element(
        "div",
        *(element("div", element("b", number), element("span", what)) for number, what in tiles),
        class_="tiles",
    )


def _devices(run: Run) -> str:
    devices = run.environment.get("devices", [])
    kinds = sorted({device.partition(": ")[2] or device for device in devices})
    return f"{len(devices)} × {', '.join(kinds)}" if devices else "devices that are not recorded"


def _data(run: Run, cost: Cost) -> list[Element]:
    if run.data is None or cost.seen is None:
        return [paragraph(_NO_STATISTICS)]
    data, seen = run.data, cost.seen
    dropped = {reason: number for reason, number in data["dropped"].items() if number}
    whole = data["pairs"] + sum(dropped.values())
    left_out = ", ".join(
        f"{reason}: {count(number)} ({share(number, whole)})" for reason, number in dropped.items()
    )
    shapes = ", ".join(
        f"{s['rows']} × ({s['source_length']}, {s['target_length']})" for s in data["shapes"]
    )
    return [
        facts(
            [
                ("Training pairs", f"{count(data['pairs'])}, from {card.training_text(run)}"),
                ("Left out", left_out or "none"),
                (
                    "Source tokens",
                    f"{count(data['source_tokens'])}, {seen.source_length:.1f} a pair",
                ),
                (
                    "Target tokens",
                    f"{count(data['target_tokens'])}, {seen.target_length:.1f} a pair",
                ),
                ("Validation pairs", count(data["validation_pairs"])),
                ("Steps an epoch", count(data["steps_per_epoch"])),
                ("Padding", f"{100 * data['padding_share']:.1f} % of all cells"),
                ("Batches", f"rows × (source, target length): {shapes}"),
            ]
        ),
        paragraph("Tokens are pieces of the vocabulary, with each sentence's end.", class_="note"),
    ]


def _curves(run: Run, cost: Cost) -> list[Element]:
    drawn = [
        element(
            "figure",
            element("h3", figure.title),
            draw(figure, f"figure-{number}"),
        )
        for number, figure in enumerate(figures(run), 1)
    ]
    note = (
        "Each point of training is the mean since the one before. Training's loss is "
        "taken with dropout on, validation's without; without label smoothing the two can be "
        "compared, and perplexity is per piece of the vocabulary. Throughput counts real tokens "
        "only; the first point after each start has compilation in it."
    )
    if cost.seen:
        note = f"{count(run.last_step)} steps are {cost.seen.epochs:.1f} epochs. {note}"
    figure_grid = element("div", *drawn, class_="figures")
    return [figure_grid, paragraph(note, class_="note"), *_validations(run)]


def _validations(run: Run) -> list[Element]:
    """The points of the curves of validation, as a table that opens at a click."""
    rows = [
        [
            count(record["step"]),
            "of that step" if record["kind"] == "validation" else record["kind"],
            *(f"{record[key]:.3f}" for key in ("loss", "perplexity", "accuracy")),
            f"{record['bleu']:.2f}",
        ]
        for record in sorted(run.validation + run.averages, key=lambda record: record["step"])
    ]
    if not rows:
        return []
    header = ["step", "weights", "loss", "perplexity", "accuracy", "BLEU"]
    shown = table(header, rows, numbers=[0, 2, 3, 4, 5])
    return [element("details", element("summary", "All validations in numbers"), shown)]


def _cost(run: Run, cost: Cost) -> list[Element]:
    devices = _devices(run)
    known: list[tuple[str, Content]] = [
        ("Training", f"{duration(cost.training_seconds)} on {devices}"),
        ("Validation", f"{duration(cost.validation_seconds)} while training"),
        ("Device hours", f"{hours(cost.device_hours)}, training and validation"),
        ("Target tokens", f"{count(cost.target_tokens)} trained on"),
    ]
    told = [
        paragraph(
            "Time is that of each log record's tokens at its speed; work that a killed run lost "
            "and start-up are not in it.",
            class_="note",
        )
    ]
    if not cost.seen:
        return [facts(known), *told, paragraph(_NO_STATISTICS)]
    seen = cost.seen
    known += [
        ("Pairs", f"{count(seen.pairs)} trained on, {seen.epochs:.1f} epochs"),
        (
            "FLOPs a pair",
            f"{power(seen.flops_per_pair)} at the mean lengths of {seen.source_length:.1f} and "
            f"{seen.target_length:.1f} tokens",
        ),
        ("Training FLOPs", power(seen.training_flops)),
        ("Speed", f"{power(cost.flops_per_second)} FLOPs a second, of all devices"),
    ]
    rows = [
        ["this run", power(seen.training_flops), "–", "–"],
        *(
            [row.model, power(row.training_flops), str(row.bleu_en_de), str(row.bleu_en_fr)]
            for row in PAPER_ROWS
        ),
    ]
    return [
        facts(known),
        *told,
        table(["model", "training FLOPs", "BLEU En-De", "BLEU En-Fr"], rows, numbers=[1, 2, 3]),
        paragraph(
            "The two counts differ. This run's are the operations of the model's matrix products, "
            "forward and backward (three times the forward pass), without padding, all pairs taken "
            "as long as the mean. The paper's are an estimate of what its hardware could do in the "
            "time: training time × GPUs × sustained FLOPs a second, 9.5 × 10¹² for each of 8 P100s "
            "(base: 12 hours; big: 3.5 days). Its BLEU is on newstest2014, and not to be compared "
            "with scores on other text.",
            class_="note",
        ),
    ]


def _config(run: Run) -> list[Element]:
    sections = [
        element(
            "div",
            element("h3", name),
            facts((key, _value(value)) for key, value in dataclasses.asdict(part).items()),
        )
        for name, part in vars(run.config).items()
        if dataclasses.is_dataclass(part)
    ]
    return [facts([("seed", str(run.config.seed))]), element("div", *sections, class_="columns")]


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "none" if value == "" else str(value)


def _environment(run: Run) -> list[Element]:
    environment = run.environment
    packages = environment.get("packages", {})
    return [
        facts(
            [
                ("Begun", _started(run)),
                ("Devices", _devices(run)),
                ("Processes", str(environment.get("processes", "not recorded"))),
                ("Host", environment.get("host", "not recorded")),
                ("Python", environment.get("python", "not recorded")),
                ("Packages", ", ".join(f"{name} {v}" for name, v in packages.items())),
                ("XLA_FLAGS", environment.get("XLA_FLAGS") or "none"),
            ]
        )
    ]


def _commands(run: Run) -> list[Element]:
    packages = [f"{k}=={v}" for k, v in run.environment.get("packages", {}).items()]
    workdir = f"--workdir={run.workdir}"
    return [
        paragraph("The packages it ran with, and the command that began it:"),
        code(shlex.join(["pip", "install", *packages])),
        code(_typed("python", *run.environment.get("command", ["experiments/train.py"]))),
        paragraph(
            "A run that was resumed may have been given other values then; those of the config "
            "above, which config.json holds, are what it was last trained with. The seed decides "
            "on everything that is random: initial weights, order of the data, dropout.",
            class_="note",
        ),
        paragraph("To translate with it, and to score it:"),
        code(_typed("python", "experiments/translate.py", workdir)),
        code(
            _typed(
                "python", "experiments/evaluate.py", workdir, "--source=FILE", "--reference=FILE"
            )
        ),
    ]


def _typed(*command: str) -> str:
    """A command for a shell, a flag a line; double quotes hold a value with single ones in it."""
    words = []
    for word in command:
        name, equals, value = word.partition("=")
        simple = "'" in value and not set('"$`\\!') & set(value)
        words.append(f'{name}{equals}"{value}"' if simple else shlex.quote(word))
    return " ".join(words[:2]) + "".join(f" \\\n    {word}" for word in words[2:])
