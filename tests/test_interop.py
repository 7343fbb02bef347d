"""Import, fine-tuning and export as a user starts them, and what is said of mistakes."""

import dataclasses
import json
import sys

import pytest

from tests.marian_directory import counting, write_json, write_marian_directory
from transformer.errors import UserError
from transformer.files import new_folder
from transformer.interop.export import export
from transformer.training.load import load
from transformer.training.workdir import check


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_marian_directory(tmp_path_factory.mktemp("marian") / "opus-mt-en-de")


@pytest.fixture(scope="module")
def imported(directory, tmp_path_factory, run_script):
    workdir = tmp_path_factory.mktemp("imported") / "runs" / "opus"
    done = run_script("import", f"--checkpoint={directory}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_an_import_is_a_run(imported, tmp_path, run_script):
    workdir, done = imported
    for command in (
        f"python experiments/translate.py --workdir={workdir}",
        f"python experiments/train.py --config={workdir}/config.json --workdir={workdir}",
        "--config.data.train=\"('train.en','train.de')\"",
    ):
        assert command in done.stdout
    names = {path.name for path in workdir.iterdir()}
    assert names >= {"config.json", "vocabulary.model", "checkpoints", "parameters.txt"}
    assert [path.name for path in workdir.parent.iterdir()] == ["opus"]

    sources, targets = counting(3)
    source, target = tmp_path / "a.en", tmp_path / "a.de"
    source.write_text("\n".join(sources))
    target.write_text("\n".join(targets))
    scored = run_script("score", f"--workdir={workdir}", f"--source={source}", f"--target={target}")
    assert scored.returncode == 0, scored.stderr
    assert len(scored.stdout.splitlines()) == 3


def test_only_the_weights_bind_a_run_before_it_is_trained(imported):
    """Other sizes are another model; see test_marian.py for what may be set."""
    config = load([imported[0]]).config
    other = dataclasses.replace(config.model, num_layers=3)
    with pytest.raises(UserError, match=r"config\.model\.num_layers was 2, is 3"):
        check(imported[0], dataclasses.replace(config, model=other))


def test_the_printed_command_fine_tunes_and_the_result_translates(imported, tmp_path, run_script):
    """The printed one, that is, on text that is there and with a few settings more."""
    workdir, done = imported
    for name, lines in zip(("train.en", "train.de"), counting(60), strict=True):
        (tmp_path / name).write_text("\n".join(lines))
    config = next(word for word in done.stdout.split() if word.startswith("--config="))
    arguments = [
        config,
        f"--workdir={workdir}",
        f"--config.data.train={tmp_path / 'train.en'},{tmp_path / 'train.de'}",
        "--config.data.validation=",
        "--config.data.batch_tokens=512",
        "--config.data.packing",
        "--config.training.num_steps=3",
    ]
    trained = run_script("train", *arguments)
    assert trained.returncode == 0, trained.stderr
    assert f"begins with the weights that {workdir} holds" in trained.stderr
    again = run_script("train", f"--config={workdir}/config.json", f"--workdir={workdir}")
    assert again.returncode == 0 and "ended at step 3" in again.stderr

    translated = run_script(
        "translate", f"--workdir={workdir}", "--decoding.max_extra_length=5", stdin="one two\n\n"
    )
    assert translated.returncode == 0, translated.stderr
    assert len(translated.stdout.split("\n")) == 3
    out = tmp_path / "out"
    exported = run_script("export", f"--workdir={workdir}", "--format=marian-hf", f"--output={out}")
    assert (exported.returncode, exported.stdout, exported.stderr) == (0, "", "")
    assert json.loads((out / "config.json").read_text())["model_type"] == "marian"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("none", "its config.json cannot be read (No such file or directory)"),
        ("gelu", "config.json has activation_function = 'gelu'; this model has only"),
        ("no spm", "its target.spm cannot be read (No such file or directory)"),
        ("full", "exists and is not an empty folder; name a new one"),
    ],
)
def test_mistakes_in_importing(directory, imported, tmp_path, run_script, mistake, message):
    workdir = imported[0] if mistake == "full" else tmp_path / "run"
    copy = tmp_path / "copy"
    if mistake != "none":
        copy.mkdir()
        for path in directory.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
    if mistake == "gelu":
        values = json.loads((copy / "config.json").read_text())
        write_json(copy / "config.json", values | {"activation_function": "gelu"})
    if mistake == "no spm":
        (copy / "target.spm").unlink()
    done = run_script("import", f"--checkpoint={copy}", f"--workdir={workdir}")
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"copy"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format=onnx", "--output={tmp}/out"], "--format=onnx"),
        (["--format=marian-hf", "--output={run}"], "exists and is not an empty folder"),
    ],
)
def test_mistakes_in_exporting(imported, tmp_path, run_script, arguments, message):
    arguments = [a.format(run=imported[0], tmp=tmp_path) for a in arguments]
    done = run_script("export", f"--workdir={imported[0]}", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "module"), [("ctranslate2", "ctranslate2.specs"), ("marian-hf", "safetensors.numpy")]
)
def test_a_package_that_is_not_there(imported, tmp_path, monkeypatch, form, module):
    model = load([imported[0]])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"pip install -e \.\[interop\]"):
        export(tmp_path / "out", form, model.config, model.params, model.tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_are_refused(imported, tmp_path):
    model = load([imported[0]])
    with pytest.raises(UserError, match="no format; choose one of ctranslate2, marian-hf"):
        export(tmp_path / "out", "onnx", model.config, model.params, model.tokenizer)


def test_a_new_folder_is_whole_or_absent(tmp_path):
    with new_folder(tmp_path / "a" / "b") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "x").read_text() == "1"
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError), new_folder(tmp_path / "empty") as folder:
        (folder / "x").write_text("1")
        raise RuntimeError
    assert {path.name for path in tmp_path.iterdir()} == {"a", "empty"}
    (tmp_path / "file").touch()
    for taken in ("file", "a"):
        with pytest.raises(UserError, match=f"{taken} exists"), new_folder(tmp_path / taken):
            pass
    with pytest.raises(UserError, match="cannot be made"), new_folder(tmp_path / "file" / "x"):
        pass
