"""The demo and the benchmark, started as a user starts them, at a size of seconds."""

import json
import pathlib

import pytest

CONFIG = pathlib.Path(__file__).parent / "tiny_config.py"


def test_demo(run_script, tmp_path):
    workdir = tmp_path / "run"
    arguments = [f"--config={CONFIG}", f"--workdir={workdir}", "--pairs=6"]
    done = run_script("demo", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  -> ") == 5
    for name in ("held-out sentences: BLEU", "never shows: BLEU", "nrefs:1|case:mixed"):
        assert name in done.stdout
    results = json.loads((workdir / "demo.json").read_text())
    assert set(results) == {"test", "test_novel"}
    assert all(0 <= result["exact_match"] <= 1 for result in results.values())


def test_benchmark_of_training_counts_real_tokens(run_script):
    done = run_script("benchmark", f"--config={CONFIG}", "--steps=2", "--rounds=2")
    assert done.returncode == 0, done.stderr
    prepared, *rounds, median = map(json.loads, done.stdout.splitlines())
    assert prepared["shapes"] == 1 and 0 <= prepared["padding_share"] < 0.5
    assert len(rounds) == 2 and median["median_of"] == 2
    assert median["target_tokens_per_second"] > 0 and median["peak_memory_mib"] > 100
    # A round of two steps cannot hold more target tokens than its two budgets.
    assert all(r["target_tokens_per_second"] * r["seconds"] <= 2 * 2_048 * 1.01 for r in rounds)
    assert prepared["first_step_seconds"] > prepared["init_seconds"]
    for record in (*rounds, median):
        share = record["model_gflops_per_second"] / record["matmul_gflops_per_second"]
        assert 0 < record["matmul_share"] < 1
        assert record is median or abs(share - record["matmul_share"]) < 0.01


def test_benchmark_of_decoding(run_script):
    done = run_script("benchmark", f"--config={CONFIG}", "--what=decode", "--steps=3", "--rounds=1")
    assert done.returncode == 0, done.stderr
    prepared, first, _ = map(json.loads, done.stdout.splitlines())
    assert prepared["sentences"] == 3 and first["sentences_per_second"] > 0


def test_benchmark_of_the_input_pipeline(run_script):
    arguments = [f"--config={CONFIG}", "--what=data", "--pairs=3000", "--steps=20", "--rounds=1"]
    done = run_script("benchmark", *arguments)
    assert done.returncode == 0, done.stderr
    prepared, first, _ = map(json.loads, done.stdout.splitlines())
    assert 2_000 < prepared["pairs"] <= 3_000  # those that are too unequal are left out
    assert 0 < first["target_tokens_per_second"] * first["seconds"] <= 20 * 2_048 * 1.01
    assert "matmul_share" not in first


def test_costs_by_size(run_script):
    options = ["--length=8", "--rounds=1", "--format=markdown", "--config.data.batch_tokens=64"]
    done = run_script("scaling", f"--config={CONFIG}", "--factor=tokens", *options)
    assert done.returncode == 0, done.stderr
    head, _, *rows, last = [line.split("|")[1:-1] for line in done.stdout.strip().splitlines()]
    assert [row[0].strip() for row in rows] == ["16", "32", "64", "128", "256"]
    gflop = [float(row[2]) for row in rows]
    assert "GFLOP a step" in head[2] and gflop == sorted(gflop)
    assert last[0].strip() == "exponent" and float(last[2]) == 1.0  # operations grow as tokens do

    smallest = ["--factor=vocabulary", "--config.data.vocab_size=5"]
    done = run_script("scaling", f"--config={CONFIG}", *smallest, *options)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[2:-2]] == ["4", "5", "10", "20"]


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        (
            "benchmark",
            ["--what=decode", "--config.data.source=files", "--config.data.train=none,none"],
            "config.data.validation names no files",
        ),
        (
            "benchmark",
            ["--what=data", "--pairs=9", "--config.data.vocab_size=4"],
            "config.data.vocab_size must be at least 5, not 4",
        ),
        (
            "scaling",
            ["--config.model.positions=learned", "--config.model.max_positions=200"],
            "Sentences will have up to 256 tokens, but config.model.max_positions is 200",
        ),
    ],
)
def test_mistakes_are_told_before_the_work(run_script, script, options, message):
    done = run_script(script, f"--config={CONFIG}", *options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}") and len(done.stderr.splitlines()) == 1
