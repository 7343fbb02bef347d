"""The folder of a run as a user translates, scores and looks into it: real processes."""

import dataclasses
import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest

from transformer.data.tokenizer import train_tokenizer
from transformer.errors import UserError
from transformer.training.load import Weights, load

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ROOT / "tests" / "tiny_config.py"


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
    options = ["--average=2", "--decoding.dtype=bfloat16"]
    done = run_script("evaluate", f"--workdir={workdir}", *files, *options, env=compiled)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["sentences"] == 2 and result["checkpoints"] == [8, 12]
    assert result["dtype"] == "bfloat16"
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


def test_a_run_decodes_in_another_dtype(straight):
    def scores(dtype):
        def change(config):
            decoding = dataclasses.replace(config.decoding, dtype=dtype)
            return dataclasses.replace(config, decoding=decoding)

        model = load([straight[0]], change=change)
        assert {x.dtype for x in jax.tree.leaves(model.params)} == {np.dtype("float32")}
        ((_, forced),) = model.score(["The man sleeps."], ["Der Mann schläft."])
        (found,) = model.translate(["The man sleeps."])
        return np.sum(forced), found.scores[0]

    trained, same, half = map(scores, ("as_trained", "float32", "bfloat16"))
    assert trained == same and all(np.not_equal(trained, half))
    np.testing.assert_allclose(trained, half, rtol=0.02)


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
