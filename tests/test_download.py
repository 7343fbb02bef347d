"""Downloads from a server of our own: cut off, gone on with, checked; and what is taken out."""

import gzip
import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from transformer.data.preparation.download import Archive, extract, fetch
from transformer.errors import UserError

CONTENT = bytes(range(256)) * 1000


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` under any name; `ranges` are the Range headers that it was sent."""

    content, knows_ranges, cut_at = CONTENT, True, None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.ranges.append(wanted)
        start = 0
        if wanted and server.knows_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start : server.cut_at])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def archive(server, content=CONTENT):
    url = f"http://127.0.0.1:{server.server_port}/some/a.tgz"
    return Archive(url, len(content), hashlib.sha256(content).hexdigest())


def fetched(archive, folder):
    return fetch(archive, folder, lambda text: None)


def refusal(archive, folder):
    with pytest.raises(UserError) as caught:
        fetched(archive, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once(server, tmp_path):
    path = fetched(archive(server), tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert fetched(archive(server), tmp_path / "new") == path
    assert server.ranges == [None]
    assert names(tmp_path / "new") == ["a.tgz"]


def test_an_interrupted_download_asks_only_for_the_rest(server, tmp_path):
    server.cut_at = 100_000
    message = refusal(archive(server), tmp_path)
    assert "100000 of 256000 bytes are there" in message
    assert names(tmp_path) == ["a.tgz.part"]
    server.cut_at = 180_000
    assert "180000 of 256000" in refusal(archive(server), tmp_path)
    server.cut_at = None
    assert fetched(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=180000-"]
    assert names(tmp_path) == ["a.tgz"]


def test_a_server_without_ranges_sends_everything_anew(server, tmp_path):
    (tmp_path / "a.tgz.part").write_bytes(CONTENT[:1000])
    server.knows_ranges = False
    assert fetched(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_process_killed_before_the_check_need_not_ask_again(server, tmp_path):
    (tmp_path / "a.tgz.part").write_bytes(CONTENT)
    assert fetched(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == []


def test_another_content_is_set_aside(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    message = refusal(archive(server), tmp_path)
    assert f"a.tgz has SHA-256 {hashlib.sha256(server.content).hexdigest()}, not" in message
    assert f"set aside as {tmp_path / 'a.tgz.wrong'}" in message
    assert names(tmp_path) == ["a.tgz.wrong"]
    server.content = CONTENT
    assert fetched(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_a_file_that_the_user_put_there_is_checked_too(server, tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"too short")
    assert "a.tgz has bytes 9, not 256000" in refusal(archive(server), tmp_path)
    assert names(tmp_path) == ["a.tgz.wrong"]
    assert server.ranges == []


def test_another_size_is_noticed_before_the_download(server, tmp_path):
    server.content = CONTENT + b"more"
    assert "has 256004 bytes now, not the 256000" in refusal(archive(server), tmp_path)
    assert names(tmp_path) == []


def test_a_server_that_is_not_there(server, tmp_path):
    gone = archive(server)._replace(url="http://127.0.0.1:9/a.tgz")
    message = refusal(gone, tmp_path)
    assert message.startswith("Cannot download http://127.0.0.1:9/a.tgz (")
    assert "0 of 256000 bytes are there, and the same command goes on from them. Or put" in message


def tar(path, members, mode):
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_are_taken_out(mode, tmp_path):
    packed = gzip.compress(b"x\n")
    content = {"./in/a.en": b"1\n", "in/a.de": b"2\n", "other": b"3\n", "b.gz": packed}
    path = tar(tmp_path / "a.tar", content, mode)
    folder = tmp_path / "out"
    found = extract(path, ["in/a.de", "in/a.en", "b.gz"], folder, lambda text: None)
    assert [file.name for file in found] == ["a.de", "a.en", "b.gz"]
    assert [file.read_bytes() for file in found] == [b"2\n", b"1\n", packed]
    assert names(folder) == ["a.de", "a.en", "b.gz"]
    (folder / "a.de").write_bytes(b"there")
    extract(path, ["in/a.de"], folder, lambda text: pytest.fail("nothing is to be done"))
    assert (folder / "a.de").read_bytes() == b"there"


def test_archives_without_the_member_or_the_end(tmp_path):
    path = tar(tmp_path / "a.tgz", {"a.en": bytes(100_000), "a.de": b"2\n"}, "w:gz")
    with pytest.raises(UserError, match=r"a\.tgz holds no a\.fr"):
        extract(path, ["a.en", "a.fr"], tmp_path / "out", lambda text: None)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"a\.tgz is no whole tar file"):
        extract(path, ["a.de"], tmp_path / "other", lambda text: None)
    assert "a.de" not in names(tmp_path / "other")
