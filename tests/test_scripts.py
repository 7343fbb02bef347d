"""The demo and the benchmark, started as a user starts them, at a size of seconds."""

import json
import pathlib

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


def test_benchmark_of_decoding(run_script):
    done = run_script("benchmark", f"--config={CONFIG}", "--what=decode", "--steps=3", "--rounds=1")
    assert done.returncode == 0, done.stderr
    prepared, first, _ = map(json.loads, done.stdout.splitlines())
    assert prepared["sentences"] == 3 and first["sentences_per_second"] > 0
