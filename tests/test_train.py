"""Training as a user starts it: real processes, killed and resumed."""

import collections
import gzip
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tensorboardX.proto import event_pb2

from transformer.training.checkpoint import saved_steps

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ROOT / "tests" / "tiny_config.py"


def records(workdir, kind="train"):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if r["kind"] == kind]


def losses(workdir):
    return {record["step"]: record["loss"] for record in records(workdir)}


def weights(workdir, step):
    """The arrays of a checkpoint, read by the library that wrote them alone."""
    folder = (workdir / "checkpoints" / str(step)).absolute()
    with ocp.StandardCheckpointer() as reader:
        return {item: reader.restore(folder / item) for item in ("params", "ema", "opt_state")}


def test_a_run_leaves_all_that_is_needed(straight):
    workdir, done = straight
    assert "step 12/12: loss" in done.stderr and "target tokens/s" in done.stderr
    assert done.stdout == ""
    names = {path.name.split(".")[0] for path in workdir.iterdir()}
    assert names >= {"config", "vocabulary", "environment", "parameters", "metrics", "events"}
    data = json.loads((workdir / "data.json").read_text())
    assert data["pairs"] + sum(data["dropped"].values()) == 300 and data["validation_pairs"] == 8
    (shape,) = data["shapes"]  # packed rows have one
    cells = data["steps_per_epoch"] * shape["rows"] * 2 * shape["source_length"]
    tokens = data["source_tokens"] + data["target_tokens"]
    assert shape["source_length"] == shape["target_length"]
    assert data["padding_share"] == pytest.approx(1 - tokens / cells, abs=1e-4)
    assert sorted(losses(workdir)) == list(range(1, 13))
    (validation,) = records(workdir, "validation")
    assert validation["step"] == 12 and 0 <= validation["bleu"] <= 100
    assert validation["bleu_signature"].startswith("nrefs:1|case:mixed")
    assert len(validation["samples"]) == 3
    assert set(validation["samples"][0]) == {"source", "reference", "translation"}
    (average,) = records(workdir, "average of 2")
    assert average["loss"] > 0
    environment = json.loads((workdir / "environment.json").read_text())
    assert "jax" in environment["packages"] and environment["devices"]
    assert "total" in (workdir / "parameters.txt").read_text()


def test_the_report_of_a_real_run(straight, run_script, tmp_path):
    logged = shutil.copytree(
        straight[0], tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "best")
    )
    done = run_script("report", f"--workdir={logged}")
    assert (done.returncode, done.stderr) == (0, "")
    page = pathlib.Path(done.stdout.strip()).read_text()
    (average,) = records(logged, "average of 2")
    data = json.loads((logged / "data.json").read_text())
    for text in (f"{average['bleu']:.2f}", f"{data['pairs']}, from sentences", "training FLOPs"):
        assert text in page


def test_a_finished_run_has_nothing_to_do(straight, run_script, compiled):
    workdir, _ = straight
    before = (workdir / "metrics.jsonl").read_text()
    done = run_script("train", f"--config={CONFIG}", f"--workdir={workdir}", env=compiled)
    assert done.returncode == 0 and "nothing to do" in done.stderr
    assert (workdir / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    how, straight, tmp_path, run_script, compiled
):
    """Same losses, same data, same final weights, to the bit."""
    reference, _ = straight
    workdir = tmp_path / "run"
    arguments = [f"--config={CONFIG}", f"--workdir={workdir}"]
    process = subprocess.Popen(
        [sys.executable, "experiments/train.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **compiled},
        stderr=subprocess.PIPE,
        text=True,
    )
    # The first checkpoint is of step 4; its writing has then begun, perhaps not ended.
    for line in process.stderr:
        if line.startswith("step 6/"):
            break
    if how == signal.SIGKILL:
        deadline = time.time() + 60
        while not (workdir / "checkpoints" / "4").exists() and time.time() < deadline:
            time.sleep(0.01)
    process.send_signal(how)
    rest = process.communicate(timeout=120)[1]
    if how == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == (0 if how == signal.SIGTERM else 130), rest
        assert f"{how.name}: saved step" in rest
    steps = losses(workdir)
    assert len(steps) < 12 or how != signal.SIGTERM

    done = run_script("train", *arguments, env=compiled)
    assert done.returncode == 0, done.stderr
    assert "resumed" in done.stderr or len(steps) == 12
    assert losses(workdir) == losses(reference)
    assert [r["step"] for r in records(workdir)] == list(range(1, 13))
    jax.tree.map(np.testing.assert_array_equal, weights(workdir, 12), weights(reference, 12))


def test_a_resumed_run_is_profiled(straight, run_script, compiled, tmp_path):
    """Four steps between two checkpoints, with the names of layers, and nothing else."""
    workdir = shutil.copytree(straight[0], tmp_path / "run")
    longer = [f"--config={CONFIG}", f"--workdir={workdir}", "--config.training.num_steps=20"]
    done = run_script("train", *longer, "--profile", env=compiled)
    assert done.returncode == 0, done.stderr
    assert f"profile of 4 steps in {workdir}/profile: layers.txt" in done.stderr
    timeline = json.loads(gzip.decompress((workdir / "profile" / "timeline.json.gz").read_bytes()))
    names = collections.Counter(event["name"] for event in timeline["traceEvents"])
    assert names["train"] == 4 and names["encoder/layer_0/self_attention (backward)"] >= 4
    assert not any("compile" in name.lower() for name in names)
    rows = (workdir / "profile" / "layers.txt").read_text().splitlines()
    share = {row.split()[0]: float(row.split()[-1].rstrip("%")) for row in rows[1:]}
    assert share.keys() >= {"decoder/layer_0/cross_attention", "loss", "optimizer"}
    assert share.pop("all") == 100 and sum(share.values()) == pytest.approx(100, abs=1)
    assert share["other"] < 10
    assert next((workdir / "profile").glob("plugins/profile/*/*.xplane.pb")).stat().st_size
    resumed = losses(workdir)
    assert list(resumed)[-1] == 20 and losses(straight[0]).items() <= resumed.items()


DIES_AFTER_VALIDATING = """
import itertools, os, pathlib, time
from experiments import cli, train
from transformer.training import loop

number, step = os.environ["DIES_AT"].split()
judge = loop._judge

def judge_or_die(run, state, bleu, progress, calls=itertools.count(1)):
    if next(calls) == int(number):
        while not (run.workdir / "checkpoints" / step).exists():
            time.sleep(0.01)
        os._exit(9)
    judge(run, state, bleu, progress)

loop._judge = judge_or_die
cli.run(train.main)
"""


@pytest.mark.parametrize(("every", "died_at", "steps"), [(4, 8, [4, 8, 12]), (12, 12, [12])])
def test_a_run_that_dies_in_a_validation_has_saved_before(
    every, died_at, steps, straight, tmp_path, run_script, compiled
):
    """And validates again, in the end, too."""
    workdir, script = tmp_path / "run", tmp_path / "dies.py"
    script.write_text(DIES_AFTER_VALIDATING)
    arguments = [f"--config={CONFIG}", f"--workdir={workdir}"]
    arguments += [f"--config.training.eval_every={every}", "--config.training.keep_best=3"]
    dies_at = {"DIES_AT": f"{died_at // every} {died_at}"}
    assert run_script(script, *arguments, env=compiled | dies_at).returncode == 9
    died = records(workdir, "validation")[-1]
    done = run_script("train", *arguments, env=compiled)
    assert done.returncode == 0 and f"resumed {workdir} at step {died_at}" in done.stderr, done
    found = {record["step"]: record for record in records(workdir, "validation")}
    assert list(found) == steps and len(records(workdir, "validation")) == len(steps)
    for record in (died, found[died_at]):
        del record["seconds"]
    assert found[died_at] == died
    assert losses(workdir) == losses(straight[0])
    assert saved_steps(workdir, best=True) == steps
    assert [record["step"] for record in records(workdir, "average of 2")] == [12]
    if died_at == 12:
        done = run_script("train", *arguments, env=compiled)
        assert done.stderr == f"nothing to do: the run in {workdir} ended at step 12\n"


STOPS_AFTER_STEP_6 = """
import os, signal
from experiments import cli, train
from transformer.training.meter import Meter

add = Meter.add

def add_and_stop(meter, step, *rest):
    add(meter, step, *rest)
    if step == 6:
        os.kill(os.getpid(), signal.SIGTERM)

Meter.add = add_and_stop
cli.run(lambda: (train.main(), print("went on")))
"""


def test_a_stopped_run_reports_the_mean_of_all_its_steps(straight, tmp_path, run_script, compiled):
    """Those before it was stopped, too, that had not been reported yet. Nothing follows a stop."""
    workdir, script = tmp_path / "run", tmp_path / "stops.py"
    script.write_text(STOPS_AFTER_STEP_6)
    arguments = [f"--config={CONFIG}", f"--workdir={workdir}", "--config.training.log_every=4"]
    stopped = run_script(script, *arguments, env=compiled)
    assert "saved step 6" in stopped.stderr
    assert (stopped.stdout, stopped.returncode) == ("", 0)
    assert list(losses(workdir)) == [4]
    assert run_script("train", *arguments, env=compiled).returncode == 0
    each = {record["step"]: record for record in records(straight[0])}
    assert list(losses(workdir)) == [4, 8, 12]
    for record in records(workdir):
        steps = [each[step] for step in range(record["step"] - 3, record["step"] + 1)]
        tokens = [step["tokens"] for step in steps]
        assert record["tokens"] == sum(tokens)
        for name in ("loss", "nll", "accuracy"):
            mean = np.average([step[name] for step in steps], weights=tokens)
            assert record[name] == pytest.approx(mean, rel=1e-6)


def test_training_stops_early_when_bleu_stands_still(tmp_path, run_script, compiled):
    """Without learning BLEU stays 0: the first validation is the best, the second is no better."""
    arguments = [
        f"--config={CONFIG}",
        f"--workdir={tmp_path / 'run'}",
        "--config.training.learning_rate_scale=1e-30",
        "--config.training.eval_every=2",
        "--config.training.patience=1",
    ]
    done = run_script("train", *arguments, env=compiled)
    assert done.returncode == 0, done.stderr
    assert max(losses(tmp_path / "run")) == 4
    again = run_script("train", *arguments, env=compiled)
    assert "nothing to do" in again.stderr and "ended at step 4" in again.stderr


def test_another_config_is_refused(straight, run_script, compiled):
    workdir, _ = straight
    done = run_script(
        "train",
        f"--config={CONFIG}",
        f"--workdir={workdir}",
        "--config.model.d_ff=64",
        env=compiled,
    )
    assert done.returncode == 2
    assert "config.model.d_ff was 32, is 64" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_other_text_is_refused_and_leaves_the_folder_as_it_is(
    straight, tmp_path, run_script, compiled
):
    workdir = shutil.copytree(straight[0], tmp_path / "run")
    data, config = workdir / "data.json", workdir / "config.json"
    data.write_text(json.dumps(json.loads(data.read_text()) | {"pairs": 7}))
    before = config.read_text()
    arguments = [f"--config={CONFIG}", f"--workdir={workdir}", "--config.training.num_steps=20"]
    done = run_script("train", *arguments, env=compiled)
    assert done.returncode == 2
    assert "cannot go on: pairs in data.json is 7" in done.stderr
    assert config.read_text() == before


def test_an_unknown_bleu_is_refused_before_the_work(straight, tmp_path, run_script, compiled):
    workdir = tmp_path / "run"
    arguments = [f"--config={CONFIG}", f"--workdir={workdir}"]
    trained = run_script("train", *arguments, "--config.training.bleu_tokenize=13A", env=compiled)
    assert not workdir.exists()
    # Its line would be warned of while it is translated.
    text = tmp_path / "long"
    text.write_text("a " * 100)
    files = [f"--source={text}", f"--reference={text}"]
    evaluated = run_script(
        "evaluate", f"--workdir={straight[0]}", *files, "--tokenize=13A", env=compiled
    )
    # A run without weights: they would be missed first.
    shutil.copytree(straight[0], workdir, ignore=shutil.ignore_patterns("checkpoints", "best"))
    config = json.loads((workdir / "config.json").read_text())
    config["training"]["bleu_tokenize"] = "13A"
    (workdir / "config.json").write_text(json.dumps(config))
    averaged = run_script("averages", f"--workdir={workdir}", *files, env=compiled)
    for done in (trained, evaluated, averaged):
        assert done.returncode == 2
        assert done.stderr.startswith("error: sacreBLEU has no tokenizer '13A'")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, run_script, compiled):
    workdir = tmp_path / "run"
    done = run_script(
        "train",
        f"--config={CONFIG}",
        f"--workdir={workdir}",
        "--config.training.learning_rate_scale=1e30",
        env=compiled,
    )
    assert done.returncode == 2
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("error: the loss of step") and "nan" in error
    (batch,) = workdir.glob("batch_of_step_*.npz")
    assert str(batch) in error
    assert set(np.load(batch)) >= {"source", "target_in", "target_out"}


def events(path):
    """The records of a TensorBoard file: length (8 bytes), its sum (4), event, its sum (4)."""
    data = path.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def test_tensorboard_shows_attention(straight):
    (path,) = straight[0].glob("events.*")
    values = [(event.step, value) for event in events(path) for value in event.summary.value]
    images = {value.tag: (step, value.image) for step, value in values if value.image.height}
    assert sorted(images) == ["average_of_2/cross_attention", "validation/cross_attention"]
    for step, image in images.values():
        assert step == 12 and image.encoded_image_string.startswith(b"\x89PNG")
        assert image.width > 200 and image.height > 100
    assert any(value.tag.startswith("validation/samples") for _, value in values)


def test_mistakes_in_the_text_leave_nothing_half_written(tmp_path, run_script, compiled):
    one, two = tmp_path / "a.en", tmp_path / "a.de"
    one.write_text("a\nb\n")
    two.write_text("a\n")
    workdir = tmp_path / "run"
    done = run_script(
        "train",
        f"--config={CONFIG}",
        f"--workdir={workdir}",
        "--config.data.source=files",
        f"--config.data.train={one},{two}",
        env=compiled,
    )
    assert done.returncode == 2
    assert "a.en has 2 lines and" in done.stderr and "a.de has 1" in done.stderr
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config.data.validation": "{tmp}/none,{tmp}/a.de"}, "Cannot read {tmp}/none: No such"),
        ({"workdir": "{tmp}/a.de"}, "{tmp}/a.de cannot be written: File exists."),
        ({"config.training.patience": "2"}, "config.training.patience counts validations, but"),
    ],
)
def test_mistakes_that_are_told_before_a_vocabulary_is_learnt(
    tmp_path, run_script, changes, message
):
    for name in ("a.en", "a.de"):
        (tmp_path / name).write_text("one man sees a dog\n" * 9)
    options = {
        "config": CONFIG,
        "workdir": tmp_path / "run",
        "config.data.source": "files",
        "config.data.train": f"{tmp_path}/a.en,{tmp_path}/a.de",
    } | {key: value.format(tmp=tmp_path) for key, value in changes.items()}
    done = run_script("train", *(f"--{key}={value}" for key, value in options.items()))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message.format(tmp=tmp_path)}"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.de", "a.en"]
