"""The examples of docs/howto.md, applied to a copy of the code: they fit it, and they work."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "howto.md").read_text()
DIFFS = re.findall(r"```diff\n--- (\S+)\n(.*?)```", TEXT, re.DOTALL)
FILES = re.findall(r"```python\n# (\S+)\n(.*?)```", TEXT, re.DOTALL)

CHECK = """
import dataclasses, re
from configs import base, news
from experiments import cli
from tests import test_layers
from transformer import config as config_lib
from transformer.data.preparation.wmt14 import CORPORA
from transformer.errors import UserError
from transformer.evaluation.bleu import score
from transformer.interop.marian_export import _differences
from experiments.score_outputs import COLUMNS

(line,) = CORPORA["news_en_de"].train.identity()
assert "news-commentary-v9.de-en.en" in line, line

config = cli.load_config("configs/news.py")
changed = config_lib.differences(config_lib.from_dict(base.get_config()), config)
lines = open("configs/news.py").read()
assert {key for key in changed if key not in ("model.d_k", "model.d_v")} == {
    key for key in re.findall(r"^    config\\.(\\S+) =", lines, re.MULTILINE)
}, changed

test_layers.test_rms_norm_by_hand()
test_layers.test_layer_norm_adds_the_configured_epsilon_to_the_variance()
config = config_lib.from_dict(base.get_config())
assert config.model.layer_norm_centred
model = dataclasses.replace(config.model, layer_norm_centred=False)
try:
    _differences(dataclasses.replace(config, model=model))
    raise AssertionError("exported")
except UserError as error:
    assert "config.model.layer_norm_centred = True" in str(error)

scores = score(["a cat sat"], ["a cat sat"]).to_json()
assert scores["chrf_words"] == 100 and "nw:2" in scores["chrf_words_signature"], scores
assert "chrf_words" in COLUMNS
"""


def applied(path, old, new, folder):
    """Replaces the excerpt in the copy; it must stand there once."""
    text = (folder / path).read_text()
    assert text.count(old) == 1, f"{path} has this {text.count(old)} times:\n{old}"
    (folder / path).write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the code with all the examples in it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("transformer", "configs", "experiments", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path, diff in DIFFS:
        lines = [(line[:1], line[1:] + "\n") for line in diff.splitlines()]
        assert {mark for mark, _ in lines} <= {" ", "+", "-", ""}
        sides = ["".join(text for mark, text in lines if mark != skip) for skip in "+-"]
        applied(path, *sides, folder)
    for path, content in FILES:
        assert not (folder / path).exists()
        (folder / path).write_text(content)
    return folder


def test_the_examples_do_what_is_said_of_them(copy):
    assert (len(DIFFS), len(FILES)) == (10, 1)
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_files_that_are_linked_are_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / "docs" / link).is_file()] == []
