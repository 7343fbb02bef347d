"""The report of a run's folder written by hand: its numbers, its curves, and what it refuses."""

import dataclasses
import html.parser
import json
import os
import pathlib
import shlex

import numpy as np
import pytest

from tests import tiny_config
from transformer import config as config_lib
from transformer.data.tokenizer import train_tokenizer
from transformer.errors import UserError
from transformer.model.flops import training_flops
from transformer.reporting import card, wording
from transformer.reporting.cost import cost_of
from transformer.reporting.curves import draw, figures
from transformer.reporting.page import render
from transformer.reporting.run import read_records, read_run

ROOT = pathlib.Path(__file__).parents[1]
WORDS = "the cat dog house tree sees loves old young Haus Hund Katze Baum sieht liebt alte".split()
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
HOSTILE = "<script>alert('&amp;')</script> \"quoted\""
SAMPLES = [
    {"source": HOSTILE, "reference": "<i>Hof</i>", "translation": "<b>Haus</b> & Hof"},
    {"source": "a", "reference": "b", "translation": ""},
]

DATA = {
    "pairs": 200,
    "dropped": {"empty": 0, "too long": 40, "length ratio": 10},
    "source_tokens": 2_000,
    "target_tokens": 1_600,
    "steps_per_epoch": 10,
    "padding_share": 0.125,
    "shapes": [{"source_length": 16, "target_length": 12, "rows": 8}],
    "validation_pairs": 20,
}
ENVIRONMENT = {
    "started": "2026-01-02T03:04:05+00:00",
    "command": ["experiments/train.py", "--workdir=my run", "--config.data.train=('a','b')"],
    "python": "3.11.7",
    "packages": {"jax": "0.10.2", "flax": "0.12.8"},
    "devices": ["cuda: Some GPU", "cuda: Some GPU"],
    "processes": 1,
    "host": "Linux x86_64, 2 cores",
    "XLA_FLAGS": "",
}
SCORES = {"bleu": 31.25, "bleu_signature": "a|b", "ter": 55.5, "ter_signature": "c", "sentences": 9}


def train_record(step, nll=2.0, **changes):
    values = {"loss": nll + 0.5, "nll": nll, "learning_rate": step / 1000}
    values |= {"tokens": 500.0, "tokens_per_second": 50.0}
    return {"kind": "train", "step": step} | values | changes


def validation_record(step, bleu, kind="validation", **changes):
    values = {"loss": 2.0, "perplexity": 7.39, "accuracy": 0.5, "bleu": bleu}
    values |= {"bleu_signature": SIGNATURE, "samples": SAMPLES, "seconds": 8.0}
    return {"kind": kind, "step": step} | values | changes


RECORDS = [
    train_record(10, 4.0, tokens_per_second=25.0),  # 20 s
    validation_record(10, 12.0),
    train_record(20, 3.0),  # 10 s
    validation_record(20, 24.5),
    train_record(30, 2.5),  # 10 s
    validation_record(30, 20.25),
    validation_record(30, 26.75, "average of 2"),
]


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture(scope="module")
def vocabulary():
    text = [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 7)) for i in range(60)]
    return train_tokenizer(text, 330).model_proto


@pytest.fixture
def folder(tmp_path, vocabulary):
    """A run of 30 of 40 steps."""
    config = tiny_config.get_config()
    config.training.num_steps = 40
    workdir = tmp_path / "my run"
    workdir.mkdir()
    (workdir / "vocabulary.model").write_bytes(vocabulary)
    for name, value in (
        ("config", config_lib.to_dict(config_lib.from_dict(config))),
        ("environment", ENVIRONMENT),
        ("data", DATA),
    ):
        (workdir / f"{name}.json").write_text(json.dumps(value))
    (workdir / "metrics.jsonl").write_text(lines(RECORDS))
    return workdir


class Page(html.parser.HTMLParser):
    """Reads a page, and notes what is wrong with its tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":  # the only kind that has no end
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def test_the_script_writes_the_page(folder, run_script):
    extra = folder.parent / "extra.json"
    extra.write_text(json.dumps({"bleu": 44.5, "bleu_signature": "x|y"}))
    (folder / "scores.json").write_text(json.dumps({"test": SCORES, "seconds": 3}))
    (folder / "averages.json").write_text(json.dumps([{"run": "a", "bleu": 1.0}]))
    done = run_script("report", f"--workdir={folder}", f"--scores={extra}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder}/report.html\n"
    text = (folder / "report.html").read_text()
    assert text == render(read_run(folder, [extra]))  # in another process, to the byte
    shown = Page(text).text
    run = read_run(folder)
    flops = 600 * training_flops(run.config.model, 330, 10, 8)
    for expected in (
        "Transformer, en to de: my run",
        "26.75 validation BLEU, average of 2",
        f"{run.parameters:,} parameters",
        "30 of 40 steps",
        "Training pairs 200, from sentences of the built-in English-German grammar (seed 0)",
        "Left out too long: 40 (16 %), length ratio: 10 (4 %)",
        "Source tokens 2,000, 10.0 a pair",
        "Padding 12.5 % of all cells",
        "8 × (16, 12)",
        "30 steps are 3.0 epochs",
        f"validation, step 30 20.25 BLEU {SIGNATURE}",
        "validation, step 20, the best 24.50 BLEU",
        "validation, average of 2 checkpoints, step 30 26.75 BLEU",
        "scores.json: test 31.25 BLEU a|b 55.50 TER (lower is better) c",
        f"{extra} 44.50 BLEU x|y",
        "Training 40 s on 2 × Some GPU",
        "Validation 32 s while training",
        "Device hours 0.04, training and validation",  # 2 x 72 s
        f"Training FLOPs {wording.power(flops)}",
        "Transformer (base), Table 2 3.3 × 10¹⁸ 27.3 38.1",
        "Transformer (big), Table 2 2.3 × 10¹⁹ 28.4 41.8",
        "d_model 16",
        "warmup_steps 4",
        "Begun 2026-01-02 03:04:05 UTC",
        "pip install jax==0.10.2 flax==0.12.8",
        "Licence to be stated",
    ):
        assert expected in shown


def test_the_page_stands_alone(folder):
    page = Page(render(read_run(folder)))
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith("#") and value[1:] in ids
        if name == "aria-labelledby":
            assert set(value.split()) <= set(ids)
        if "url(" in value:
            assert value.startswith("url(#") and value[5:-1] in ids
    for reference in ("http:", "https:", "@import"):
        assert reference not in render(read_run(folder))
    assert page.tags.count("svg") == 4
    # A title, and a description that tells the ends of the curve.
    assert "validation: from 2 at step 10 to 2 at step 30" in page.text


def test_text_is_shown_as_it_is(folder):
    page = Page(render(read_run(folder)))
    source, output = SAMPLES[0]["source"], SAMPLES[0]["translation"]
    assert f"{source} → {output}" in page.text and "a → (nothing)" in page.text
    assert "script" not in page.tags


def test_the_command_can_be_typed_into_a_shell(folder):
    commands = [words for words in Page(render(read_run(folder))).words if "train.py" in words]
    (command,) = commands
    assert shlex.split(command.replace("\\\n", "")) == ["python", *ENVIRONMENT["command"]]
    assert "--config.data.train=\"('a','b')\"" in command


def test_cost_by_hand(folder):
    run = read_run(folder)
    cost = cost_of(run)
    assert (cost.training_seconds, cost.validation_seconds) == (500 / 25 + 2 * 500 / 50, 4 * 8)
    assert cost.target_tokens == 1500 and cost.devices == 2
    assert cost.device_hours == pytest.approx(2 * 72 / 3600)
    assert (cost.seen.epochs, cost.seen.pairs) == (3, 600)
    assert (cost.seen.source_length, cost.seen.target_length) == (10, 8)
    assert cost.seen.training_flops == 600 * training_flops(run.config.model, 330, 10, 8)
    assert cost.flops_per_second == cost.seen.training_flops / 40


def test_a_folder_without_statistics_validations_or_devices(folder):
    (folder / "data.json").unlink()
    (folder / "environment.json").write_text("{}")
    (folder / "metrics.jsonl").write_text(lines([train_record(10)]))
    page = Page(render(read_run(folder)))
    assert page.text.count("The folder has no data.json") == 2
    assert "None yet: the run was not validated" in page.text
    assert "how well it translates is not known" in page.text
    assert page.tags.count("svg") == 3
    assert cost_of(read_run(folder)).flops_per_second is None


def test_of_a_resumed_run_the_later_record_wins(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = [train_record(s, 9.0) for s in (10, 20)] + [validation_record(20, 1.0)]
    first += [train_record(30, 9.0), {"kind": "another", "step": 30}]
    # Resumed at 15, with other intervals: 20 and 30 of before are no more.
    second = [train_record(18, 1.0), train_record(26, 1.0), train_record(26, 0.5)]
    path.write_text(lines(first + second))
    kept = [(r["kind"], r["step"], r["nll"]) for r in read_records(path)]
    assert kept == [("train", 10, 9.0), ("train", 18, 1.0), ("train", 26, 0.5)]


def test_a_line_that_is_being_written_is_not_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines([train_record(10)]) + lines([train_record(20)])[:-30])
    assert [record["step"] for record in read_records(path)] == [10]


@pytest.mark.parametrize(
    "line",
    [
        lines([train_record(20)])[:-30],
        "",
        "[]",
        "7",
        '{"kind": "train"}',
        '{"kind": 5, "step": 5}',
        lines([{"kind": "train", "step": 5, "loss": 2.0}])[:-1],
        lines([train_record(20, nll=0) | {"nll": "low"}])[:-1],
        lines([validation_record(20, None)])[:-1],
    ],
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines([train_record(10)]) + line + "\n" + lines([train_record(30)]))
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: not a record of a run"):
        read_records(path)


def test_curves_have_the_points_of_the_records(folder):
    loss, bleu, rate, speed = figures(read_run(folder))
    smoothed, training, validation = loss.lines
    assert smoothed.steps == training.steps == [10, 20, 30]
    assert (smoothed.values, training.values) == ([4.5, 3.5, 3.0], [4.0, 3.0, 2.5])
    assert (validation.steps, validation.values) == ([10, 20, 30], [2.0, 2.0, 2.0])
    single, average = bleu.lines
    assert (single.label, single.values) == ("single checkpoint", [12.0, 24.5, 20.25])
    assert (average.label, average.steps, average.values) == ("average of 2", [30], [26.75])
    assert rate.lines[0].values == [0.01, 0.02, 0.03]
    assert speed.lines[0].values == [25.0, 50.0, 50.0]


def test_a_curve_is_drawn_through_its_points(folder):
    """The marks of the SVG are the points, but for a scale and an offset on each axis."""
    loss = figures(read_run(folder))[0]
    svg = draw(loss, "drawn")
    for line, colour in zip(loss.lines, ("first", "second", "third"), strict=True):
        marks = [
            (float(use.get("x")), float(use.get("y")))
            for use in svg.iter("use")
            if f"fill: var(--{colour})" in use.get("style", "")
        ][: len(line.steps)]
        x, y = np.array(marks).T
        np.testing.assert_allclose(np.diff(x), np.diff(x)[0], rtol=1e-3)
        assert x[0] < x[-1]
        if line.label != "validation":
            ratio = np.diff(y) / np.diff(line.values)
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
            assert ratio[0] < 0  # upwards on the page is downwards in SVG
    texts = {text.text for text in svg.iter("text")}
    assert {"step", "nats a token", "perplexity", "20", "validation"} <= texts
    assert "#0000" not in "".join(element.get("style", "") for element in svg.iter())


def test_limitations_say_what_the_record_shows(folder):
    def said(**changes):
        return " ".join(card.limitations(dataclasses.replace(run, **changes)))

    run = read_run(folder)
    assert "200 pairs of sentences of the built-in English-German grammar" in said()
    assert "48 tokens of its vocabulary were left out of training (40 pairs were)" in said()
    assert "stands at step 30 of 40" in said()
    assert "highest at step 20 (24.50) and is 20.25 at step 30" in said()
    assert "still rising" in said(validation=run.validation[:2])
    assert "No score on test text" in said()
    assert "No score on test text" not in said(scores={"test": SCORES})
    assert "better than other text" not in said()
    worse = [validation_record(30, 1.0, loss=2.75)]
    assert "2.75 nats a token, on training pairs 2.50" in said(
        validation=run.validation[:2] + worse
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": "files", "train": ("my/a.en", "my/a.de")}, "a.en and a.de"),
        ({"source": "tfds", "tfds_name": "wmt/de-en"}, "wmt/de-en of TensorFlow Datasets"),
        ({"source": "prepared", "prepared_dir": "data/help"}, "the prepared folder help"),
    ],
)
def test_the_training_text_is_named(folder, changes, expected):
    run = read_run(folder)
    config = dataclasses.replace(run.config, data=dataclasses.replace(run.config.data, **changes))
    assert card.training_text(dataclasses.replace(run, config=config)) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (wording.power(3.3e18), "3.3 × 10¹⁸"),
        (wording.power(9.96e-3), "1.0 × 10⁻²"),
        (wording.count(1234567.6), "1,234,568"),
        (wording.share(1, 8), "12 %"),
        (wording.share(1, 1000), "0.1 %"),
        (wording.duration(0.4), "0 s"),
        (wording.duration(59.6), "1 min"),
        (wording.duration(725), "12 min 5 s"),
        (wording.duration(7205), "2 h"),
        (wording.duration(187_200), "2 d 4 h"),
        (wording.hours(0.0451), "0.045"),
        (wording.hours(1234.4), "1,234"),
    ],
)
def test_numbers_as_a_reader_wants_them(written, expected):
    assert written == expected


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "is not the folder of a run: it holds no"),
        (lambda run: (run / "metrics.jsonl").write_text(""), "let the run reach step 1"),
        (
            lambda run: (run / "metrics.jsonl").write_text(lines(RECORDS[:2]) + "{\n"),
            "metrics.jsonl, line 3: not a record of a run; remove that line.",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_no_page(damage, message, folder, run_script):
    damage(folder)
    done = run_script("report", f"--workdir={folder}")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (folder / "report.html").exists()


def test_without_matplotlib_the_extra_is_named(folder, run_script, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "matplotlib.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(hidden), str(ROOT)])
    done = run_script("report", f"--workdir={folder}", env={"PYTHONPATH": path})
    assert done.returncode == 2
    assert done.stderr == "error: The curves need matplotlib: pip install -e .[plots]\n"
    assert not (folder / "report.html").exists()


def test_files_that_are_no_use_are_named(folder):
    with pytest.raises(UserError, match=r"data\.json holds no score"):
        read_run(folder, [folder / "data.json"])
    with pytest.raises(UserError, match=r"Cannot read .*none: No such file"):
        read_run(folder, [folder / "none"])
    (folder / "other.json").write_text("{")
    with pytest.raises(UserError, match=r"other\.json is not valid JSON \(line 1\)"):
        read_run(folder)
    (folder / "other.json").write_text("3")
    with pytest.raises(UserError, match=r"other\.json holds no JSON object"):
        read_run(folder)
    (folder / "other.json").write_text("[]")  # as experiments/averages.py prints
    read_run(folder)
    with pytest.raises(UserError, match=r"other\.json holds no score"):
        read_run(folder, [folder / "other.json"])
    (folder / "environment.json").unlink()
    with pytest.raises(UserError, match=r"holds no environment\.json"):
        read_run(folder)
