"""The paper's tables as data, as configs, and beside this code's own figures."""

import json
import shutil

import jax
import numpy as np
import pytest

from configs import base, table2, table3, table3_small
from experiments import cli, paper_tables, tables
from transformer import config as config_lib
from transformer.config import differences
from transformer.errors import UserError
from transformer.sharding import make_mesh, put_batch
from transformer.training.prepare import prepare_data, row_multiple
from transformer.training.step import make_init, make_train_step

# Millions, worked out with V = 37,000 from base's 63,045,632: what each row adds or takes away.
PARAMETERS = {
    "base": 63_045_632,
    "A1": 63_045_632,  # h d_k stays d_model
    "A2": 63_045_632,
    "A3": 63_045_632,
    "A4": 63_045_632,
    "B1": 63_045_632 - 18 * 2 * 512 * 8 * 48,  # W^Q and W^K of 18 attentions, 48 narrower
    "B2": 63_045_632 - 18 * 2 * 512 * 8 * 32,
    "C1": 63_045_632 - 4 * 7_350_272,  # an encoder and a decoder layer have 7,350,272
    "C2": 63_045_632 - 2 * 7_350_272,
    "C3": 63_045_632 + 2 * 7_350_272,
    "C6": 63_045_632 - 12 * (2 * 512 + 1) * 1024,
    "C7": 63_045_632 + 12 * (2 * 512 + 1) * 2048,
    "D1": 63_045_632,
    "D2": 63_045_632,
    "D3": 63_045_632,
    "D4": 63_045_632,
    "E": 63_045_632 + 2 * 1024 * 512,  # two tables of 1,024 positions
    "big": 214_171_648,
}


def config_of(row):
    return config_lib.from_dict(table3.get_config(row))


def test_the_rows_are_those_of_the_paper():
    names = "base A1 A2 A3 A4 B1 B2 C1 C2 C3 C4 C5 C6 C7 D1 D2 D3 D4 E big"
    assert list(table3.ROWS) == names.split()
    plain = config_lib.from_dict(base.get_config())
    for name, row in table3.ROWS.items():
        found = set(differences(plain, config_of(name)))
        # d_k and d_v follow from d_model / h unless they are given.
        assert found - {"model.d_k", "model.d_v"} == {
            *(set(row.changes) - {"model.d_k"}),
            "training.average_last",
            "experiment",
        }
    sizes = {name: (config_of(name).model.d_k, config_of(name).model.d_v) for name in table3.ROWS}
    expected = {"A1": (512, 512), "A2": (128, 128), "A3": (32, 32), "A4": (16, 16)}
    expected |= {"B1": (16, 64), "B2": (32, 64), "C4": (32, 32), "C5": (128, 128), "big": (64, 64)}
    assert {name: sizes[name] for name in expected} == expected


@pytest.mark.parametrize("row", table3.ROWS)
def test_parameters_at_full_width(row):
    count = paper_tables.parameters(config_of(row))
    if row in PARAMETERS:
        assert count == PARAMETERS[row]
    if (millions := table3.ROWS[row].parameters) is not None:
        # The paper's vocabulary is only "about" 37,000: see the next test.
        assert abs(count / 1e6 - millions) < 5


def test_a_vocabulary_of_41_thousand_gives_the_papers_column_in_all_rows_but_big():
    names = [name for name in table3.ROWS if name != "big"]
    least, greatest = paper_tables.fitting_vocabularies(names)
    assert 40_000 < least <= greatest < 42_000
    for name in names:
        if (millions := table3.ROWS[name].parameters) is not None:
            for size in (least, greatest):
                assert round(paper_tables.parameters(config_of(name), size) / 1e6) == millions
    big = paper_tables.fitting_vocabularies(["big"])
    assert big[0] < big[1] < 37_000
    least, greatest = paper_tables.fitting_vocabularies(table3.ROWS)
    assert least > greatest


def test_training_flops_by_hand():
    """Base: 6 FLOPs a parameter and token, as the rule of thumb has it, and some for attention."""
    config = config_of("base")
    source, target = 18_874_368, 25_165_824 + 37_000 * 512  # matrices a token passes through
    # Attention: Q K^T and the weighted sum, 30 keys each, of 12 layers on the target side, 6 on
    # the source side.
    attention = 2 * 30 * 512 * (6 + 12)
    per_token = 6 * (source + target + attention)
    assert paper_tables.flops(config) == pytest.approx(per_token * 25_000 * 100_000)


@pytest.fixture(scope="module")
def small_data():
    """What all rows of table3_small train on; made once."""
    config = small_config("base")
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    data, tokenizer = prepare_data(config, None, row_multiple(config, mesh), lambda text: None)
    return mesh, tokenizer.vocab_size, data


def small_config(row):
    values = table3_small.get_config(row)
    for width in ("d_model", "d_ff", "d_k", "d_v"):
        values.model[width] //= 4
    values.data.grammar_pairs = 200
    values.data.vocab_size = 500
    values.training.warmup_steps = 10
    return config_lib.from_dict(values)


@pytest.fixture
def quick_compilation():
    """Half the time for programs that run for a second."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("row", table3.ROWS)
def test_every_row_trains_for_20_steps_at_reduced_width(row, small_data, quick_compilation):
    mesh, vocab_size, data = small_data
    config = small_config(row)
    init, shardings = make_init(config, vocab_size, mesh)
    step = make_train_step(config, vocab_size, mesh, shardings)
    state, batches, losses = init(), data.iterator(), []
    with jax.set_mesh(mesh):
        for _ in range(20):
            state, metrics = step(state, put_batch(mesh, next(batches)))
            losses.append(float(metrics.nll))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3


def test_a_row_is_named_behind_the_file():
    config = cli.load_config("configs/table3.py:C2")
    assert (config.model.num_layers, config.experiment) == (4, "table3:C2")
    assert cli.load_config("configs/table2.py:big_en_fr").model.d_model == 1024
    with pytest.raises(UserError, match="'C9' is no row of Table 3; choose one of base, A1, "):
        cli.load_config("configs/table3.py:C9")
    with pytest.raises(UserError, match=r"configs/big\.py has no variants; drop ':C2'"):
        cli.load_config("configs/big.py:C2")
    with pytest.raises(UserError, match=r"none\.py: there is no such file"):
        cli.load_config("configs/none.py:C2")


def test_tables_in_three_styles():
    head, rows = ["name", "value"], [["a|b", "+1.5"], ["c", "10"]]
    text = tables.table(head, rows, "text").splitlines()
    assert text[2:] == ["a|b        +1.5", "c            10"]
    assert tables.table(head, rows, "markdown").splitlines()[2] == "| a\\|b   |    +1.5 |"
    assert "a|b & +1.5" in " ".join(tables.table(head, rows, "latex").split())
    assert "name" in tables.table(head, [], "text")


def test_the_script_prints_both_tables_and_the_scores_of_a_run(straight_row, run_script, tmp_path):
    done = run_script("paper_tables", f"--runs={straight_row}", "--format=markdown")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (row,) = [line for line in lines if line.startswith("| C1 ")]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[11:15] == ["6.11", "23.7", "36M", "33.64M"]
    assert cells[16].endswith("*") and cells[17].endswith("*")
    assert any("at another size" in line for line in lines)
    (big,) = [line for line in lines if "Transformer (big)" in line and "En-De" in line]
    assert "28.4" in big and "2.3e19" in big and "214,171,648" in big

    config = json.loads((straight_row / "config.json").read_text()) | {"experiment": ""}
    other = shutil.copytree(straight_row, tmp_path / "other")
    (other / "config.json").write_text(json.dumps(config))
    done = run_script("paper_tables", f"--runs={other}")
    assert done.returncode == 2
    assert "is no row of the paper's tables" in done.stderr


@pytest.fixture(scope="module")
def straight_row(tmp_path_factory, run_script):
    """A sweep of one row besides base, of seconds: the folder of the row's run."""
    workdir = tmp_path_factory.mktemp("sweep")
    options = [
        "--rows=base,C1",
        "--seeds=1",
        "--config.training.num_steps=6",
        "--config.training.eval_every=6",
        "--config.training.checkpoint_every=3",
        "--config.model.d_model=32",
        "--config.data.grammar_pairs=200",
        "--config.data.validation_pairs=8",
        "--config.data.vocab_size=500",
    ]
    done = run_script("sweep", f"--workdir={workdir}", *options)
    assert done.returncode == 0, done.stderr
    options[0] = "--rows=base,C1,base"  # no row is counted twice
    again = run_script("sweep", f"--workdir={workdir}", *options)
    assert again.returncode == 0 and again.stdout == done.stdout
    assert again.stderr.count("nothing to do") == 2
    return workdir / "C1-0"


def test_a_sweep_leaves_scores_a_table_and_a_figure(straight_row):
    workdir = straight_row.parent
    scores = json.loads((workdir / "sweep.json").read_text())
    assert [(score["row"], score["seed"]) for score in scores] == [("base", 0), ("C1", 0)]
    table = (workdir / "sweep.md").read_text()
    difference = scores[1]["bleu"] - scores[0]["bleu"]
    assert f"{difference:+.2f} ± 0.00" in table and "-2.1" in table
    assert (workdir / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (workdir / "sweep.svg").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows=base,A9"], "'A9' is no row of Table 3"),
        (["--rows=A1"], "lacks base"),
        (["--config.training.patience=2"], "set config.training.patience to 0"),
        (
            ["--config.data.source=files", "--config.data.train=a,b"],
            "name text in config.data.validation",
        ),
    ],
)
def test_mistakes_in_a_sweep(run_script, tmp_path, options, message):
    done = run_script("sweep", f"--workdir={tmp_path / 'sweep'}", *options)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_asks_first_for_what_it_draws_with(run_script, tmp_path):
    script = tmp_path / "without.py"
    script.write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'matplotlib' else find(name, *rest)\n"
        "from experiments import cli, sweep\ncli.run(sweep.main)\n"
    )
    done = run_script(script, f"--workdir={tmp_path / 'sweep'}")
    assert done.returncode == 2
    assert done.stderr == "error: Drawing needs matplotlib: pip install -e .[plots]\n"
    assert not (tmp_path / "sweep").exists()


def test_table2_has_the_papers_figures():
    assert {name: (row.bleu, row.training_flops) for name, row in table2.ROWS.items()} == {
        "base_en_de": (27.3, 3.3e18),
        "big_en_de": (28.4, 2.3e19),
        "base_en_fr": (38.1, 3.3e18),
        "big_en_fr": (41.8, 2.3e19),
    }
