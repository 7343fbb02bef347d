"""A run's folder is made, taken and left again; a full disk is one sentence."""

import pytest

from transformer.errors import UserError
from transformer.training.lock import taken


def test_a_folder_is_trained_in_by_one_process(tmp_path):
    folder = tmp_path / "some" / "run"
    with taken(folder):
        message = f"another process is training in {folder}; end it"
        with pytest.raises(UserError, match=message), taken(folder):
            pass
        (folder / "file").touch()
    with taken(folder):  # the first one has ended
        pass
    assert list(folder.iterdir()) == [folder / "file"]


def test_a_new_folder_goes_again_if_nothing_was_written(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    for folder in (new, old):
        with pytest.raises(UserError, match="no text"), taken(folder):
            assert folder.is_dir()
            raise UserError("no text")
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder, why in (("file", "File exists"), ("file/run", "Not a directory")):
        message, path = f"{folder} cannot be written: {why}", tmp_path / folder
        with pytest.raises(UserError, match=message), taken(path):
            pass
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write
    with pytest.raises(UserError, match="may not be written to"), taken(tmp_path):
        pass


def test_a_full_disk_is_said(tmp_path):
    """By the system, or by a library that wraps its words."""

    def run(error):
        with taken(tmp_path):
            try:
                raise error
            finally:
                raise RuntimeError("what was begun cannot be ended")

    for full in (OSError(28, "No space left on device"), ValueError("x: No space left on device")):
        with pytest.raises(UserError, match=f"the disk that {tmp_path} is on is full; make room"):
            run(full)
    with pytest.raises(RuntimeError):
        run(OSError(5, "Input/output error"))
