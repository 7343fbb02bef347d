"""What a run tells its user: the terminal's bar, the lines of a log, and TensorBoard's texts."""

import os
import pty
import re
import struct
import subprocess
import sys
import time

import pytest
from tensorboardX.proto import event_pb2

from transformer.training import metrics
from transformer.training.metrics import MetricsLog, Progress, markdown_table

TERMINAL = """
import fcntl, struct, sys, termios
from transformer.training.metrics import Progress
fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
bar = Progress(100_000, 3_000)
bar.keep("BLEU 23.45")
bar.message("step 3000: validation")
for step in range(100):
    bar.advance(100, "loss 3.214, 25,300 tokens/s")
bar.close()
"""


def test_the_bar_of_a_terminal_shows_eta_speed_and_the_last_validation():
    own, terminal = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", TERMINAL], stderr=terminal) as child:
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(own, 65_536):
                shown += piece
        except OSError:  # Linux's end of a terminal's file
            pass
        assert child.wait() == 0
    os.close(own)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[\w+", "", shown.decode()))
    assert max(map(len, lines)) <= 80 and "step 3000: validation" in lines
    last = next(line for line in reversed(lines) if line.strip())
    pattern = r"13000/100000 steps \|.*\| [\d:]+ left, loss 3.214, 25,300 tokens/s, BLEU 23.45\s*"
    assert re.fullmatch(pattern, last)


def test_a_log_has_a_line_a_minute(monkeypatch, capsys):
    """100,000 steps in ten hours, a report every 100: 1,000 reports, and less lines than that."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    bar = Progress(100_000, 0)
    for step in range(100, 100_001, 100):
        now += 36
        bar.advance(100, "not on a terminal")
        bar.status(f"step {step}")
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    first = [f"step {step}" for step in range(100, 3_001, 100)]
    assert lines[: metrics.FIRST_LINES] == first
    # From then on every other report: 72 seconds lie between them.
    assert lines[metrics.FIRST_LINES :] == [f"step {s}" for s in range(3_200, 100_001, 200)]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("two\nlines | a bar", r"two lines \| a bar"),
        ("*not* _slanted_ `nor` code", r"\*not\* \_slanted\_ \`nor\` code"),
        ("<b>no</b> & [link](x)", r"&lt;b&gt;no&lt;/b&gt; &amp; \[link\](x)"),
    ],
)
def test_texts_stand_in_a_table_as_they_are(text, cell):
    head, rule, row = markdown_table([{"source": text, "translation": ""}]).splitlines()
    assert (head, rule) == ("| source | translation |", "|---|---|")
    assert row == f"| {cell} |  |"


def events_of(folder):
    """What TensorBoard reads: a length, its checksum, an Event, its checksum, and so on."""
    (path,) = folder.glob("events*")
    content, at = path.read_bytes(), 0
    while at < len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        yield event_pb2.Event.FromString(content[at + 12 : at + 12 + size])
        at += size + 16


def test_tensorboard_gets_numbers_and_samples(tmp_path):
    log = MetricsLog(tmp_path, 0)
    sample = {"source": "a man", "reference": "ein Mann", "translation": "Mann"}
    log.write("validation", 7, {"bleu": 12.5, "bleu_signature": "nrefs:1", "samples": [sample]})
    log.write("train", 8, {"loss": 2.0, "learning_rate": 1e-3, "tokens_per_second": 9.0})
    log.close()
    written = [(event.step, v) for event in events_of(tmp_path) for v in event.summary.value]
    numbers = {(step, v.tag): v.simple_value for step, v in written if v.HasField("simple_value")}
    assert numbers == {
        (7, "validation/bleu"): 12.5,
        (8, "train/loss"): 2.0,
        (8, "train/learning_rate"): pytest.approx(1e-3),
        (8, "train/tokens_per_second"): 9.0,
    }
    texts = {v.tag: v.tensor.string_val[0].decode() for _, v in written if v.tensor.string_val}
    assert texts == {"validation/samples/text_summary": markdown_table([sample])}
