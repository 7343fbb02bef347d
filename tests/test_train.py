"""Training as a user starts it: real processes, killed and resumed."""

import collections
import gzip
import json
import os
import pathlib
import re
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

from transformer.data.tokenizer import train_tokenizer
from transformer.errors import UserError
from transformer.training.checkpoint import saved_steps
from transformer.training.load import Weights, load

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ROOT / "tests" / "tiny_config.py"


def records(workdir, kind="train"):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if r["kind"] == kind]


def losses(workdir):
    return {record["step"]: record["loss"] for record in records(workdir)}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A compilation cache that the processes of this module share."""
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}


@pytest.fixture(scope="session")
def straight(tmp_path_factory, run_script, compiled):
    """A run that nothing stopped."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    done = run_script("train", f"--config={CONFIG}", f"--workdir={workdir}", env=compiled)
    assert done.returncode == 0, done.stderr
    return workdir, done


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
cli.run(train.main)
"""


def test_a_stopped_run_reports_the_mean_of_all_its_steps(straight, tmp_path, run_script, compiled):
    """Those before it was stopped, too, that had not been reported yet."""
    workdir, script = tmp_path / "run", tmp_path / "stops.py"
    script.write_text(STOPS_AFTER_STEP_6)
    arguments = [f"--config={CONFIG}", f"--workdir={workdir}", "--config.training.log_every=4"]
    assert "saved step 6" in run_script(script, *arguments, env=compiled).stderr
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


def test_translating_and_evaluating_need_the_folder_alone(straight, tmp_path, run_script, compiled):
    original, _ = straight
    workdir = shutil.copytree(original, tmp_path / "elsewhere")
    text = "The man sleeps.\n\nThe old teacher reads a book.\n"
    done = run_script("translate", f"--workdir={workdir}", stdin=text, env=compiled)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert len(lines) == 4 and lines[1] == "" and lines[3] == ""

    source, reference = tmp_path / "a.en", tmp_path / "a.de"
    source.write_text("The man sleeps.\nI see you.\n")
    reference.write_text("Der Mann schläft.\nIch sehe dich.\n")
    files = [f"--source={source}", f"--reference={reference}"]
    done = run_script("evaluate", f"--workdir={workdir}", *files, "--average=2", env=compiled)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["sentences"] == 2 and result["checkpoints"] == [8, 12]
    assert {"bleu", "chrf", "ter", "paper_bleu", "bleu_signature", "seconds"} <= set(result)


def test_a_run_translates_on_one_device_and_on_eight(straight, tmp_path, run_script):
    """As a run of the mesh (2, 2, 2), which one device has no room for."""
    workdir = shutil.copytree(straight[0], tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["mesh"] = {"data": 2, "fsdp": 2, "tensor": 2}
    (workdir / "config.json").write_text(json.dumps(config))
    outputs = []
    for devices in (1, 8):
        quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        flags = {"XLA_FLAGS": f"{quick} --xla_force_host_platform_device_count={devices}"}
        text = "The man sleeps.\n\nThe old teacher reads a book.\nI see you.\n"
        done = run_script("translate", f"--workdir={workdir}", "--nbest=2", stdin=text, env=flags)
        assert done.returncode == 0, done.stderr
        outputs.append([line.split(" ||| ") for line in done.stdout.splitlines()])
    one, eight = outputs
    assert len(one) >= 4 and [row[:2] for row in one] == [row[:2] for row in eight]
    scores = [np.array([row[2:] for row in rows], float) for rows in outputs]
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_a_run_can_be_looked_into(straight, tmp_path, run_script, compiled):
    model = load([straight[0]])
    lines = ["The man sleeps.", "", "I see you."]
    found = model.translate(lines)
    for looked in (model.inspect(lines), model.inspect(lines, found)):
        assert [one.target_tokens for one in looked] == [
            model.tokenizer.pieces(translation.ids[0]) for translation in found
        ]
        for one, translation in zip(looked, found, strict=True):
            expected = translation.token_log_probs[0]
            np.testing.assert_allclose(one.token_log_probs, expected, atol=1e-4)
        assert looked[0].source_tokens[0] == "▁The" and looked[1].source_tokens == ["</s>"]
    (forced,) = model.inspect(["I see you."], ["Ich sehe dich."])
    ((ids, log_probs),) = model.score(["I see you."], ["Ich sehe dich."])
    assert forced.target_tokens == model.tokenizer.pieces(ids)
    np.testing.assert_allclose(forced.token_log_probs, log_probs, atol=1e-4)
    with pytest.raises(UserError, match="2 targets for 1 sources"):
        model.inspect(["a"], ["b", "c"])
    with pytest.raises(UserError, match="Only one model can be looked into"):
        model._replace(steps=[[1], [2]]).inspect(["a"])

    workdir, page = f"--workdir={straight[0]}", tmp_path / "page.html"
    text = "The man sleeps.\n\n" * 51
    done = run_script("translate", workdir, f"--attention={page}", stdin=text, env=compiled)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == found[0].text
    assert f"{page} shows the first 50 of 51 translations." in done.stderr
    data = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    sentences = json.loads(data[1])["sentences"]
    assert [one["text"] for one in sentences] == ["The man sleeps."] * 50
    page.unlink()
    done = run_script("translate", workdir, f"--attention={page}", stdin="\n \n", env=compiled)
    assert (done.returncode, done.stdout) == (0, "\n\n")
    assert done.stderr == f"{page} is not written: there is no translation to show.\n"
    assert not page.exists()

    done = run_script("alignment", workdir, "--pairs=3", env=compiled)
    assert done.returncode == 0, done.stderr
    head, _, layer, best = done.stdout.splitlines()
    assert head.split()[0] == "AER" and head.endswith("head 2")
    rates = [float(cell.rstrip("%")) for cell in layer.split()[2:]]
    assert len(rates) == 3 and all(0 <= rate <= 100 for rate in rates)
    assert float(best.rstrip("%.").split()[-1]) in rates


def test_nbest_and_files(straight, tmp_path, run_script, compiled):
    workdir, _ = straight
    source, output = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("The man sleeps.\n")
    done = run_script(
        "translate",
        f"--workdir={workdir}",
        f"--input={source}",
        f"--output={output}",
        "--nbest=3",
        "--tokens",
        "--best",
        env=compiled,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" ||| ") for line in output.read_text().splitlines()]
    assert 1 <= len(rows) <= 3 and {row[0] for row in rows} == {"1"}
    log_probs, scores = ([float(row[column]) for row in rows] for column in (2, 3))
    assert scores == sorted(scores, reverse=True)
    for row, log_prob, score in zip(rows, log_probs, scores, strict=True):
        each = [float(token.rpartition(":")[2]) for token in row[4].split()]
        assert sum(each) == pytest.approx(log_prob, abs=1e-2)
        assert score == pytest.approx(log_prob / ((5 + len(each)) / 6) ** 0.6, rel=1e-4)


def test_forced_scores_and_prefixes(straight, tmp_path, run_script, compiled):
    workdir, _ = straight
    source, prefix = tmp_path / "a.en", tmp_path / "prefix"
    source.write_text("The man sleeps.\nI see you.\n")
    prefix.write_text("Der Mann\n\n")
    found = run_script(
        "translate", f"--workdir={workdir}", f"--input={source}", f"--prefix={prefix}",
        "--nbest=1", "--average=1", env=compiled,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    rows = [line.split(" ||| ") for line in found.stdout.splitlines()]
    assert rows[0][1].startswith("Der Mann")
    output = tmp_path / "out.de"
    output.write_text("".join(f"{row[1]}\n" for row in rows))
    done = run_script(
        "score", f"--workdir={workdir}", f"--source={source}", f"--target={output}",
        "--tokens", "--average=1", env=compiled,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == 2 and "2 pairs" in done.stderr and "perplexity" in done.stderr
    for log_prob, tokens, mean, each in lines:
        assert len(each.split()) == int(tokens)
        assert float(log_prob) == pytest.approx(float(mean) * int(tokens), abs=1e-3)


def test_averages_and_ensembles_in_one_table(straight, tmp_path, run_script, compiled):
    workdir, _ = straight
    source, reference = tmp_path / "a.en", tmp_path / "a.de"
    source.write_text("The man sleeps.\nI see you.\n")
    reference.write_text("Der Mann schläft.\nIch sehe dich.\n")
    files = [f"--source={source}", f"--reference={reference}"]
    twice = [f"--workdir={workdir}", f"--workdir={workdir}"]
    done = run_script("averages", *twice, *files, "--format=json", env=compiled)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    kinds = ["last", "mean of the last 2", "best", "moving average"]
    assert [row["weights"] for row in rows] == kinds * 4
    assert [row["run"] for row in rows[8:]] == ["mean of 2"] * 4 + ["ensemble of 2"] * 4
    assert rows[0]["steps"] == [[12]] and rows[1]["steps"] == [[8, 12]]
    assert [row["bleu"] for row in rows[:4]] == [row["bleu"] for row in rows[4:8]]
    assert all(row["deviation"] == 0 for row in rows[8:12])
    assert rows[12]["bleu"] == pytest.approx(rows[0]["bleu"])  # a model and itself


def test_the_last_weights_are_no_moving_average_beside_a_run_without(
    straight, tmp_path, run_script
):
    other = shutil.copytree(straight[0], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["training"]["ema_decay"] = 0.0
    (other / "config.json").write_text(json.dumps(config))
    script = tmp_path / "kinds.py"
    script.write_text(
        "import sys\nfrom experiments import averages\n"
        "for name, kind in averages._kinds(sys.argv[1:]).items(): print(name, kind.ema)\n"
    )
    done = run_script(script, straight[0], other)
    assert done.stdout.splitlines() == ["last False", "mean of the last 2 False", "best None"]
    with_average, without = (load([run], Weights(1, ema=False)) for run in (straight[0], other))
    jax.tree.map(np.testing.assert_array_equal, with_average.params, without.params)


def test_the_runs_of_an_ensemble_share_a_vocabulary(straight, tmp_path, run_script, compiled):
    other = shutil.copytree(straight[0], tmp_path / "other")
    train_tokenizer(["a man sees a dog"] * 9, 275).save(other / "vocabulary.model")
    workdirs = [f"--workdir={straight[0]}", f"--workdir={other}"]
    text = tmp_path / "text"
    text.write_text("The man sleeps.\n")
    for script, *flags in (
        ("translate", f"--input={text}"),
        ("averages", f"--source={text}", f"--reference={text}"),  # before either is scored alone
    ):
        done = run_script(script, *workdirs, *flags, env=compiled)
        assert done.returncode == 2
        assert "have different vocabularies" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_runs_of_an_ensemble_have_positions_for_the_lines_of_the_first(straight, tmp_path):
    """Those of 48 tokens and 4 more; the other one's own have 40."""
    other = shutil.copytree(straight[0], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["model"] |= {"positions": "learned", "max_positions": 51}
    config["data"]["max_length"] = 40
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"{other} has 51 learned positions .*, but 52 are asked"):
        load([straight[0], other])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir={tmp}/none"], "is not the folder of a run: it holds no config.json"),
        (["--workdir={run}", "--input={tmp}/none"], "none: No such file or directory"),
        (["--workdir={run}", "--average=9"], "9 checkpoints cannot be averaged"),
        (["--workdir={run}", "--decoding.beam_size=0"], "config.decoding.beam_size must be at"),
        (["--workdir={run}", "--nbest=9"], "nbest is 9, but decoding.beam_size only 4"),
        (["--workdir={run}", "--nbest=0"], "--nbest=0: 0 is not a positive integer"),
        (["--workdir={run}", "--output={tmp}/x", "--attention={tmp}/./x"], "name the same file"),
        (["--workdir={run}"] * 2 + ["--attention=x.html"], "--attention shows a single model"),
        (["--workdir={run}", "--tokens"], "--tokens is printed with --nbest only"),
        (["--workdir={run}", "--prefix={tmp}/two"], "There are 2 prefixes for 0 lines"),
        (["--workdir={run}", "--best", "--noema"], "its best weights as moving averages only"),
        (["--workdir={run}", "--input={tmp}/latin1"], "latin1, line 2: not valid UTF-8"),
        (["--workdir={tmp}", "--output={tmp}/none/x"], "none/x: there is no folder"),
        (["--workdir={tmp}", "--attention={tmp}"], "it is a folder"),
    ],
)
def test_mistakes_in_translating(straight, tmp_path, run_script, compiled, arguments, message):
    (tmp_path / "two").write_text("a\nb\n")
    (tmp_path / "latin1").write_bytes(b"fine\n\xfcber\n")
    arguments = [a.format(run=straight[0], tmp=tmp_path) for a in arguments]
    done = run_script("translate", *arguments, stdin="", env=compiled)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_scoring_looks_first_whether_it_can_write(tmp_path, run_script):
    arguments = [f"--workdir={tmp_path}", "--source=none", "--target=none", f"--output={tmp_path}"]
    done = run_script("score", *arguments)
    message = f"error: Cannot write {tmp_path}: it is a folder.\n"
    assert (done.returncode, done.stderr) == (2, message)


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
