"""What the folder of a run accepts: the config and the text that it was begun with."""

import dataclasses

import pytest

from tests.helpers import base_config
from tests.test_pipeline import CORPUS, TOKENIZER, data_config, train_data
from transformer.data.corpus import Corpus
from transformer.data.pipeline import build_train_data
from transformer.errors import UserError
from transformer.training import workdir as workdir_lib

OTHER_SEED = dataclasses.replace(base_config(), seed=7)


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A folder with a checkpoint of step 4, as far as its files say."""
    workdir_lib.claim(tmp_path, base_config(), TOKENIZER)
    workdir_lib.describe_data(tmp_path, train_data(), 0, 4)
    monkeypatch.setattr(workdir_lib, "saved_steps", lambda workdir: [4])
    return tmp_path


def test_the_same_text_is_accepted_again(begun):
    before = (begun / "data.json").read_text()
    workdir_lib.describe_data(begun, train_data(), 3, 4)
    assert workdir_lib.read_json(begun / "data.json")["validation_pairs"] == 3
    workdir_lib.describe_data(begun, train_data(), 0, 4)
    assert (begun / "data.json").read_text() == before


@pytest.mark.parametrize(
    "other",
    [
        Corpus(CORPUS.source[1:], CORPUS.target[1:]),
        Corpus(CORPUS.source[::-1], CORPUS.target[::-1]),  # as many pairs and tokens
    ],
)
def test_other_text_is_refused(begun, other):
    before = (begun / "data.json").read_text()
    data = build_train_data(data_config(), TOKENIZER, other, 7, 4)
    with pytest.raises(UserError, match=r"cannot go on: .* restore it, or name another --workdir"):
        workdir_lib.describe_data(begun, data, 0, 4)
    assert (begun / "data.json").read_text() == before


def test_other_batches_of_the_text_are_refused(begun):
    with pytest.raises(
        UserError, match=r"steps_per_epoch in data\.json is \d+, .* another version"
    ):
        workdir_lib.describe_data(begun, train_data(batch_tokens=200), 0, 4)


def test_data_of_an_older_version_is_compared_as_far_as_it_goes(begun):
    workdir_lib.write(begun / "data.json", '{"pairs": 150}')
    workdir_lib.describe_data(begun, train_data(), 0, 4)
    workdir_lib.write(begun / "data.json", '{"pairs": 151}')
    with pytest.raises(UserError, match=r"pairs in data\.json is 151, but now 150"):
        workdir_lib.describe_data(begun, train_data(), 0, 4)


def test_a_run_with_checkpoints_keeps_its_config_and_vocabulary(begun):
    with pytest.raises(UserError, match=r"config\.seed was \d+, is 7"):
        workdir_lib.check(begun, OTHER_SEED)
    assert workdir_lib.stored_vocabulary(begun, "").fingerprint == TOKENIZER.fingerprint


def test_a_folder_without_a_checkpoint_takes_any_config_and_text(tmp_path):
    """What failed in its first steps is tried with other values in the same folder."""
    workdir_lib.claim(tmp_path, base_config(), TOKENIZER)
    workdir_lib.describe_data(tmp_path, train_data(), 0, 4)
    workdir_lib.check(tmp_path, OTHER_SEED)
    assert workdir_lib.stored_vocabulary(tmp_path, "") is None
    workdir_lib.describe_data(tmp_path, train_data(batch_tokens=200), 0, 4)
