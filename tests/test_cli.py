"""The door of the scripts: what users see of their mistakes, in real processes where it counts."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from absl import flags

from configs import base
from experiments import cli
from transformer import config as config_lib
from transformer.errors import UserError

SCRIPT = '''
"""A script like those of experiments/."""
import os
import signal
import sys
import time
from absl import flags
from experiments import cli
from transformer.errors import UserError

CONFIG = cli.config_flag()
DECODING = cli.decoding_flags()
DO = flags.DEFINE_string("do", "print", "what main does")
NEEDED = flags.DEFINE_string("needed", None, "without it nothing works", required=True)


def main():
    if DO.value == "environment":
        print(os.environ["XLA_FLAGS"])
        assert "jax" not in sys.modules
    elif DO.value == "jax":
        import jax
        print(jax.jit(lambda x: x + 1)(1))
    elif DO.value == "user error":
        raise UserError("First half,\\nsecond half.")
    elif DO.value == "bug":
        raise ValueError("a bug")
    elif DO.value == "wait":
        # A shell that runs something in the background has it ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("ready", flush=True)
        time.sleep(60)
    elif DO.value == "talk":
        while True:
            print("line " * 1000)
    elif DO.value == "fail":
        return 3
    else:
        config = DECODING(CONFIG())
        print(config.training.num_steps, config.data.train, config.decoding.beam_size)


if __name__ == "__main__":
    cli.run(main)
'''


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "script.py"
    path.write_text(SCRIPT)
    return path


def parse(*args):
    """Parses a command line without a process; returns what the two flags' functions give."""
    flag_values = flags.FlagValues()
    load, apply = cli.config_flag(flag_values=flag_values), cli.decoding_flags(flag_values)
    cli._parse_flags(["script.py", *args], flag_values)
    return apply(load())


def refusal(*args):
    with pytest.raises(UserError) as caught:
        parse(*args)
    return str(caught.value)


def test_the_config_of_a_file():
    assert parse("--config=configs/base.py") == config_lib.from_dict(base.get_config())


@pytest.mark.parametrize(
    ("argument", "section", "value"),
    [
        ("--config.seed=5", None, 5),
        ("--config.training.num_steps=60", "training", 60),
        ("--config.training.num_steps=1_000", "training", 1000),
        ("--config.decoding.alpha=1", "decoding", 1.0),
        ("--config.training.adam_eps=1e-8", "training", 1e-8),
        ("--config.mesh.data=-1", "mesh", -1),
        ("--config.model.remat", "model", True),
        ("--config.model.remat=true", "model", True),
        ("--noconfig.model.remat", "model", False),
        ("--config.model.norm=pre", "model", "pre"),
        ("--config.data.train=('a.en','a.de')", "data", ("a.en", "a.de")),
        ("--config.data.train=['a.en', 'a.de']", "data", ("a.en", "a.de")),
        ("--config.data.train=../x/a.en,../x/a.de", "data", ("../x/a.en", "../x/a.de")),
        ("--config.data.train=", "data", ()),
    ],
)
def test_any_key_can_be_set(argument, section, value):
    expected = base.get_config()
    key = argument.lstrip("-").removeprefix("no").partition("=")[0].rpartition(".")[2]
    (expected[section] if section else expected)[key] = value
    assert parse(argument, "--config=configs/base.py") == config_lib.from_dict(expected)


def test_decoding_flags_replace_only_what_is_given():
    expected = base.get_config()
    expected.decoding.beam_size, expected.decoding.alpha = 7, 0.0
    config = parse("--config=configs/base.py", "--decoding.beam_size=7", "--decoding.alpha=0")
    assert config == config_lib.from_dict(expected)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "--config.model.d_modle=64",
            "--config.model.d_modle is not a known flag; did you mean --config.model.d_model?",
        ),
        (
            "--config.modle.d_model=64",
            "--config.modle.d_model is not a known flag; did you mean --config.model.d_model?",
        ),
        (
            "--config.num_steps=1",
            "--config.num_steps is not a known flag; did you mean --config.training.num_steps?",
        ),
        (
            "--decoding.beamsize=1",
            "--decoding.beamsize is not a known flag; did you mean --decoding.beam_size?",
        ),
        (
            "--config.model=base",
            "--config.model is not a known flag; it is a section, whose keys are set one by one as "
            "--config.model.KEY=VALUE.",
        ),
        ("--zzz", "--zzz is not a known flag; --help lists them all."),
        ("--config.seed=x", "--config.seed=x: must be a whole number."),
        ("--config.seed=1.5", "--config.seed=1.5: must be a whole number."),
        ("--config.decoding.alpha=0,6", "--config.decoding.alpha=0,6: must be a number."),
        ("--config.model.remat=maybe", "--config.model.remat=maybe: must be true or false."),
        ("--config.seed", "Missing value for flag --config.seed."),
        ("--config.model.norm=up", "config.model.norm must be one of 'post', 'pre', not 'up'."),
        ("--decoding.beam_size=0", "config.decoding.beam_size must be at least 1, not 0."),
        ("configs/base.py", "'configs/base.py' is no flag; write --NAME=VALUE, and see --help."),
    ],
)
def test_a_mistake_on_the_command_line_gets_its_sentence(argument, message):
    assert refusal("--config=configs/base.py", argument) == message


def test_the_config_must_be_named():
    assert refusal() == "Name an experiment, for example --config=configs/base.py."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "--config={}: there is no such file."),
        ("def get_config(:\n", "{}, line 1: SyntaxError: invalid syntax"),
        ("\n\nimport nothing_of_this_name\n", "{}, line 3: ModuleNotFoundError: No module named"),
        (
            "def get_config():\n    return 1 / 0\n",
            "{}, line 2: ZeroDivisionError: division by zero",
        ),
        ("x = 1\n", "{} defines no function get_config()."),
        ("def get_config():\n    pass\n", "get_config() of {} must return a ConfigDict, not None."),
        (
            """
            from configs import base
            def get_config():
                config = base.get_config()
                config.lock()
                config.model.d_modle = 64
                return config
            """,
            "{}, line 6: AttributeError: ",
        ),
        (
            """
            from configs import base
            def get_config():
                config = base.get_config()
                config.model.d_modle = 64
                return config
            """,
            "config.model.d_modle is not a known key; did you mean config.model.d_model?",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "mine.py").write_text(textwrap.dedent(text))
    assert refusal("--config=mine.py").startswith(message.format("mine.py"))


def test_the_config_of_a_run(tmp_path):
    path = tmp_path / "config.json"
    expected = config_lib.from_dict(base.get_config())
    path.write_text(json.dumps(config_lib.to_dict(expected)))
    assert parse(f"--config={path}") == expected
    assert parse(f"--config={path}", "--config.seed=5").seed == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "--config={}: No such file or directory."),
        ("{", "{} is not valid JSON."),
        ("[]", "{} is not the config of a run."),
        ("{}", "config.data is missing; configs/base.py shows every key."),
    ],
)
def test_a_mistake_in_the_config_of_a_run(text, message, tmp_path):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    assert refusal(f"--config={path}", "--config.seed=5") == message.replace("{}", str(path))


def test_a_mistake_in_a_config_that_another_builds_upon_is_found_there(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_base.py").write_text("def get_config():\n    return missing\n")
    (tmp_path / "mine.py").write_text("import broken_base\nget_config = broken_base.get_config\n")
    assert refusal("--config=mine.py").startswith("broken_base.py, line 2: NameError: ")


def test_a_script_runs_with_overrides_in_any_order(run_script, script):
    arguments = ["--config.training.num_steps", "60", "--config=configs/base.py", "--needed=x"]
    arguments += ["--decoding.beam_size=2", "--config.data.train=('a.en','a.de')"]
    result = run_script(script, *arguments)
    assert (result.stdout, result.stderr, result.returncode) == ("60 ('a.en', 'a.de') 2\n", "", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=nowhere.py", "--needed=x"], "--config=nowhere.py: there is no such file."),
        (["--config.seed=x"], "--config.seed=x: must be a whole number."),
        ([], "--needed is missing; --help says what it is."),
        (["--needed=x", "--do=user error"], "First half, second half."),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(run_script, script, arguments, message):
    result = run_script(script, *arguments)
    assert (result.stdout, result.stderr) == ("", f"error: {message}\n")
    assert result.returncode == 2


def test_a_bug_keeps_its_traceback_and_main_its_status(run_script, script):
    bug = run_script(script, "--needed=x", "--do=bug")
    assert bug.returncode == 1
    assert "Traceback" in bug.stderr
    assert run_script(script, "--needed=x", "--do=fail").returncode == 3


def test_help_lists_the_scripts_flags(run_script, script):
    result = run_script(script, "--help")
    assert result.returncode == 0
    for text in ("A script like those", "--needed", "--config.model.d_model", "post or pre"):
        assert text in result.stdout


def test_output_goes_where_a_link_leads(tmp_path):
    target, link = tmp_path / "target", tmp_path / "folder" / "link"
    link.parent.mkdir()
    link.symlink_to(target)
    for text in ("new", "old"):  # the first time the link leads to nothing
        cli.check_output(str(link))
        cli.write_output(str(link), text)
        assert link.is_symlink() and target.read_text() == text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "link", "target"]


def test_output_goes_into_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        cli.check_output(str(pipe))
        cli.write_output(str(pipe), "text")
        assert pipe.is_fifo() and os.read(reader, 9) == b"text"
    finally:
        os.close(reader)


def test_output_that_cannot_be_written_is_refused_beforehand(tmp_path, monkeypatch):
    cli.check_output(None)
    cli.check_output("beside_me")
    for path, reason in (
        (tmp_path, "it is a folder."),
        ("", "it is a folder."),
        (tmp_path / "none" / "x", f"there is no folder {tmp_path / 'none'}."),
    ):
        with pytest.raises(UserError, match=f"Cannot write {path}: {reason}"):
            cli.check_output(str(path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(UserError, match=f"{tmp_path} may not be written to"):
        cli.check_output(str(tmp_path / "x"))


@pytest.fixture
def start(script, pytestconfig):
    def popen(do):
        return subprocess.Popen(
            [sys.executable, script, "--needed=x", f"--do={do}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(pytestconfig.rootpath)},
        )

    return popen


def test_ctrl_c_is_status_130_without_a_traceback(start):
    with start("wait") as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
    assert (errors, child.returncode) == ("interrupted\n", 130)


def test_a_reader_that_leaves_ends_the_script_quietly(start):
    with start("talk") as child:
        assert child.stdout.readline().startswith("line")
        child.stdout.close()
        errors = child.stderr.read()
    assert (errors, child.returncode) == ("", 1)


SCHEDULER = "--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
CUBLAS = "--xla_gpu_enable_triton_gemm=false"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", f"{SCHEDULER} {CUBLAS}"),
        ("--a=1", f"--a=1 {SCHEDULER} {CUBLAS}"),
        ("--xla_cpu_scheduler_type=X", f"--xla_cpu_scheduler_type=X {CUBLAS}"),
        ("--xla_gpu_enable_triton_gemm=true", f"--xla_gpu_enable_triton_gemm=true {SCHEDULER}"),
    ],
)
def test_xla_flags_are_added_to_the_users(run_script, script, given, expected):
    result = run_script(script, "--needed=x", "--do=environment", env={"XLA_FLAGS": given})
    assert (result.stdout, result.stderr) == (f"{expected}\n", "")


def test_jax_accepts_the_environment(run_script, script):
    """XLA ends the process at a flag that it does not know."""
    result = run_script(script, "--needed=x", "--do=jax", env={"XLA_FLAGS": ""})
    assert (result.stdout, result.returncode) == ("2\n", 0)
