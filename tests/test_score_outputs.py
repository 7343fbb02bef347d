"""The table of scores as a user asks for it: three forms of the same numbers, and the refusals."""

import json
import re

import pytest

from transformer.evaluation.bleu import score

SOURCE = ["The old man sleeps.", 'He says "yes" to the plan.', "The children see the dog."]
REFERENCE = ["Der alte Mann schläft.", "Er sagt „ja“ zu dem Plan.", "Die Kinder sehen den Hund."]
FIRST = ["Der alte Mann schläft.", 'Er sagt "ja" zu dem Plan.', "Die Kinder | children Hund."]
SECOND = ["Der alte Mann schlief.", "Er sagt „ja“ zu dem Plan.", "Die."]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    texts = {"s.en": SOURCE, "r.de": REFERENCE, "first.txt": FIRST, "second.txt": SECOND}
    for name, lines in texts.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def arguments(files, *hypotheses):
    named = [f"--hypothesis={files / name}" for name in hypotheses]
    return [f"--reference={files / 'r.de'}", *named]


def test_text_has_scores_tests_statistics_signatures_and_the_worst(run_script, files):
    given = arguments(files, "first.txt", "second.txt")
    done = run_script("score_outputs", *given, f"--source={files / 's.en'}", "--worst=1")
    assert done.returncode == 0, done.stderr
    head, scores, tests, counts, _, signatures, *worst = done.stdout.strip("\n").split("\n\n")
    assert head == f"{files / 'r.de'}, 3 sentences"
    for table, system in ((scores, "first.txt"), (scores, "second.txt"), (tests, "second.txt")):
        assert f"{files / system}  " in table
    expected = score(FIRST, REFERENCE)
    row = scores.splitlines()[2].split()
    columns = "bleu bleu_intl chrf ter paper_bleu paper_bleu_quotes".split()
    assert row[1:] == [f"{getattr(expected, name).score:.2f}" for name in columns]
    difference = score(SECOND, REFERENCE).bleu.score - expected.bleu.score
    assert tests.splitlines()[2].split()[1] == f"{difference:+.2f}"
    # One of 14 words with a letter is a copy; one output of three is less than half as long.
    assert counts.splitlines()[2].split()[-1] == "7.14%"
    assert counts.splitlines()[3].split()[2] == "33.33%"
    for part in ("tok:13a", "tok:intl", "nc:6", "tok:tercom", "quotes:ref-ascii", "bs:1000", "ar:"):
        assert part in signatures
    head, *lines = worst[1].split("\n")
    assert head.startswith("    line 3, chrF2 ")
    assert lines == [
        "    source     The children see the dog.",
        "    reference  Die Kinder sehen den Hund.",
        "    output     Die Kinder | children Hund.",
    ]


def test_markdown_tables_keep_their_columns(run_script, files):
    name = "a|b.txt"
    (files / name).write_text((files / "first.txt").read_text())
    done = run_script("score_outputs", *arguments(files, name), "--format=markdown")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 6 and r"a\|b.txt" in rows[2]
    assert [row.replace(r"\|", "").count("|") for row in rows] == [8] * 3 + [7] * 3
    assert rows[-1].split()[-2] == "-"  # untranslated words need a source
    assert "bootstrap" not in done.stdout  # one output alone has none to differ from


def test_json_has_the_same_for_programs(run_script, files):
    given = arguments(files, "first.txt", "second.txt")
    done = run_script("score_outputs", *given, "--format=json", "--worst=2", "--language=en")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    first, second = result["systems"]
    expected = score(FIRST, REFERENCE, language="en").to_json()
    assert {key: first[key] for key in expected} == expected
    assert "tok:moses-en" in first["paper_bleu_signature"]
    assert result["baseline"] == first["name"] and "against_baseline" not in first
    assert second["against_baseline"]["difference"] == pytest.approx(second["bleu"] - first["bleu"])
    assert first["statistics"]["untranslated"] is None
    assert [sentence["line"] for sentence in second["worst"]] == [3, 1]
    assert set(second["worst"][0]) == {"line", "chrf", "reference", "output"}


def test_a_public_test_set_comes_from_the_cache_of_sacrebleu(run_script, tmp_path):
    folder = tmp_path / "wmt14"
    folder.mkdir()
    for field in ("src", "ref", "docid", "genre", "origlang"):
        lines = "".join(f"{field} {i} a b c\n" for i in range(2737))
        (folder / f"wmt14.en-de.{field}").write_text(lines)
    output, other = tmp_path / "output", tmp_path / "other"
    output.write_text((folder / "wmt14.en-de.ref").read_text())
    other.write_text("a\n" * 3003)

    def run(hypothesis, name="wmt14"):
        return run_script(
            "score_outputs",
            f"--test_set={name}",
            "--language_pair=en-de",
            f"--hypothesis={hypothesis}",
            env={"SACREBLEU": str(tmp_path), "https_proxy": "http://127.0.0.1:9"},
        )

    done = run(output)
    assert done.returncode == 0, done.stderr
    title = "wmt14 en-de: newstest2014, the filtered edition of 2,737 lines"
    assert done.stdout.startswith(title) and "100.00" in done.stdout
    refuses(run(other), "3003 lines.*has 2737.*the full edition of 3,003 lines.*wmt14/full")
    # There is no network: nothing listens at the proxy.
    refuses(run(output, "wmt14/full"), "Cannot download wmt14/full en-de")


def refuses(done, sentence):
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert re.search(sentence, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"bad\.txt has 0 lines and .*r\.de has 3; line n"),
        (b"a\nb\n", r"bad\.txt has 2 lines and .*r\.de has 3; line n"),
        (b"a\n\xff\nc\n", r"bad\.txt, line 2: not valid UTF-8"),
        (None, r"Cannot read .*bad\.txt: No such file"),
    ],
)
def test_a_bad_hypothesis_is_refused(run_script, files, content, sentence):
    path = files / "bad.txt"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    refuses(run_script("score_outputs", *arguments(files, "first.txt", "bad.txt")), sentence)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--reference={}/r.de", "--tokenize=13b"], "no tokenizer '13b'; choose one of 13a, char"),
        (["--test_set=wmt99", "--language_pair=en-de"], "no test set 'wmt99'"),
        (["--test_set=wmt14"], "--test_set takes --language_pair, for example en-de"),
        (["--reference={}/r.de", "--language_pair=en-de"], "--language_pair belongs to --test_set"),
        (["--reference={}/r.de", "--test_set=wmt14"], "either --reference=FILE or --test_set"),
        (["--reference={}/s.en", "--source={}/empty"], "empty has 0 lines and .*s.en has 3"),
        (["--reference={}/empty"], "empty is empty: there is nothing to score against"),
        (["--reference={}/r.de", "--format=html"], "--format=html: .*<text|markdown|json>"),
    ],
)
def test_bad_flags_are_refused(run_script, files, flags, sentence):
    (files / "empty").touch()
    given = [flag.format(files) for flag in flags]
    hypothesis = f"--hypothesis={files / 'first.txt'}"
    refuses(run_script("score_outputs", hypothesis, *given), sentence)
