"""Several hosts as a user starts them: real processes that meet on this machine.

They are killed, told to stop, started again in other numbers and with other meshes, and given
what cannot work.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from jax._src.clusters import cloud_tpu_cluster
from jax.sharding import AbstractMesh

from experiments.cli import load_config
from transformer import hosts
from transformer.errors import UserError
from transformer.sharding import MESH_AXES
from transformer.training.prepare import row_multiple
from transformer.training.signals import StopRequest

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 24
ARGUMENTS = [
    f"--config={ROOT / 'tests' / 'tiny_config.py'}",
    f"--config.training.num_steps={STEPS}",
    "--config.training.learning_rate_scale=0.2",  # a higher one enlarges differences of rounding
    "--config.model.num_heads=4",  # to be cut four times
]
VALIDATE = ["--config.training.eval_every=4"]
# What is compiled runs for a moment only.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def mesh(*sizes):
    names = ("data", "fsdp", "tensor")
    return [f"--config.mesh.{name}={size}" for name, size in zip(names, sizes, strict=True)]


def environment(folder, devices):
    return {
        "PYTHONPATH": str(ROOT),
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "XLA_FLAGS": QUICK,
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


class Processes:
    """Processes of one run, each with `devices` devices; none outlives the `with` statement."""

    def __init__(self, folder, count, devices, arguments, script="experiments/train.py", own=()):
        """`own` are arguments of the last process alone; output goes to files in `folder`."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        self.errors = [folder / f"stderr{i}" for i in range(count)]
        self.outputs = [folder / f"stdout{i}" for i in range(count)]
        common = [*arguments, f"--coordinator_address={address}", f"--num_processes={count}"]
        folder.mkdir()
        self.processes = [
            subprocess.Popen(
                [sys.executable, str(ROOT / script), *common, f"--process_id={i}"]
                + [*own] * (i == count - 1),
                cwd=ROOT,
                env={**os.environ, **environment(folder.parent, devices)},
                stdout=self.outputs[i].open("w"),
                stderr=self.errors[i].open("w"),
            )
            for i in range(count)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def wait_for(self, happened, seconds=240):
        deadline = time.time() + seconds
        while not happened():
            ended = [process.poll() for process in self.processes]
            assert set(ended) == {None} and time.time() < deadline, (ended, self.texts())
            time.sleep(0.02)

    def status(self, seconds=240):
        """Exit statuses, in a reasonable time."""
        deadline = time.time() + seconds
        return [p.wait(max(0, deadline - time.time())) for p in self.processes]

    def texts(self):
        return [path.read_text() for path in self.errors]


def records(workdir, kind="train"):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if r["kind"] == kind]


def losses(workdir):
    return {record["step"]: record["loss"] for record in records(workdir)}


def checkpoints(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit())


@pytest.fixture(scope="module")
def story(tmp_path_factory, run_script):
    """One run in three parts on three meshes, and the same on one device that nothing stopped."""
    folder = tmp_path_factory.mktemp("hosts")
    workdir, straight = folder / "run", folder / "straight"
    arguments = [*ARGUMENTS, f"--workdir={workdir}"]
    facts = {"workdir": workdir, "straight": straight}
    with Processes(folder / "a", 2, 4, [*arguments, *mesh(2, 2, 2), *VALIDATE]) as run:
        run.wait_for(lambda: "step 6/" in run.texts()[0] and checkpoints(workdir) == [4])
        run.processes[1].kill()
        killed = time.time()
        alone = [*ARGUMENTS, f"--workdir={straight}", *VALIDATE]
        done = run_script("train", *alone, env=environment(folder, 1))
        assert done.returncode == 0, done.stderr
        facts["killed"] = run.status(max(1, 60 - (time.time() - killed))), run.texts()
        facts["killed at"] = max(losses(workdir))
    with Processes(folder / "b", 4, 2, [*arguments, *mesh(1, 2, 4)]) as run:
        run.wait_for(lambda: "step 6/" in run.texts()[0])
        run.processes[3].send_signal(signal.SIGTERM)
        facts["stopped"] = run.status(), run.texts()
        facts["stopped at"] = max(losses(workdir)), checkpoints(workdir)[-1]
    last = run_script("train", *arguments, *mesh(4, 1, 1), env=environment(folder, 4))
    facts["finished"] = last.returncode, last.stderr
    return facts


def test_a_process_that_dies_ends_the_others_within_a_minute(story):
    (survivor, killed), (said, _) = story["killed"]
    assert killed == -signal.SIGKILL and survivor not in (0, -signal.SIGKILL)
    assert "another task died" in said or "error: process 0 lost contact with another" in said
    assert "Traceback" not in said


def test_sigterm_to_one_process_makes_all_save_the_same_step(story):
    status, (first, *others) = story["stopped"]
    logged, saved = story["stopped at"]
    assert status == [0] * 4, first
    assert "4 processes, 8 devices" in first and "at step 4" in first
    assert 6 <= saved == logged < STEPS
    assert f"SIGTERM: saved step {saved}; the same command goes on from it" in first
    assert all("step" not in text for text in others)  # one process speaks
    assert "process 3 of 4 has joined; process 0 reports" in others[2]


def test_the_losses_are_those_of_a_run_that_was_never_stopped(story):
    """Whatever the processes and the mesh: no sentence was lost, and none came twice."""
    status, said = story["finished"]
    assert status == 0, said
    assert f"resumed {story['workdir']} at step {story['stopped at'][1]}" in said
    found = records(story["workdir"])
    assert [record["step"] for record in found] == list(range(1, STEPS + 1))
    expected = records(story["straight"])
    for name in ("loss", "tokens", "gradient_norm"):
        of = [[record[name] for record in run] for run in (found, expected)]
        np.testing.assert_allclose(*of, rtol=1e-5 if name == "loss" else 1e-4, err_msg=name)


def test_validation_on_two_processes_is_that_on_one(story):
    found, expected = (records(story[run], "validation")[0] for run in ("workdir", "straight"))
    assert found["step"] == expected["step"] == 4  # as in the story before the first kill
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert (found["bleu"], found["samples"]) == (expected["bleu"], expected["samples"])


def test_two_processes_translate_as_one_does(story, tmp_path, run_script):
    """The first one reads and writes for both; its lines are not a multiple of the devices."""
    text = tmp_path / "text.en"
    lines = ["The man sleeps.", "", "A dog sees the old house.", "She reads.", "We see two cats."]
    text.write_text("".join(f"{line}\n" for line in lines))
    arguments = [f"--workdir={story['workdir']}", f"--input={text}", "--nbest=2", "--tokens"]
    alone = run_script("translate", *arguments, env=environment(tmp_path, 1))
    assert alone.returncode == 0 and len(alone.stdout.splitlines()) == 9, alone.stderr
    with Processes(tmp_path / "pair", 2, 2, arguments, "experiments/translate.py") as pair:
        assert pair.status() == [0, 0], pair.texts()
    found, nothing = (path.read_text() for path in pair.outputs)
    assert nothing == ""
    for own, other in zip(found.splitlines(), alone.stdout.splitlines(), strict=True):
        assert own.split(" ||| ")[:2] == other.split(" ||| ")[:2]
        scores = [[float(x) for x in line.split(" ||| ")[2:4]] for line in (own, other)]
        np.testing.assert_allclose(*scores, atol=1e-5)


def test_scripts_that_are_not_started_alike_say_so(story, tmp_path):
    arguments = [f"--workdir={story['workdir']}", "--source=none.en", "--reference=none.de"]
    own = ["--decoding.beam_size=2"]
    with Processes(tmp_path / "pair", 2, 1, arguments, "experiments/evaluate.py", own) as pair:
        assert pair.status() == [2, 2], pair.texts()
    for text in pair.texts():
        (error,) = [line for line in text.splitlines() if "error" in line]
        assert "The command is " in error and "beam_size=2' in process 1" in error


def test_one_process_writes(story):
    workdir = story["workdir"]
    assert len(list(workdir.glob("events.*"))) == 3  # one a start
    assert not list(workdir.glob(".*"))
    assert json.loads((workdir / "environment.json").read_text())["processes"] == 2
    assert json.loads((workdir / "data.json").read_text())["row_multiple"] == 8


def test_two_processes_exchange_values_and_share_rows_but_not_their_configs(tmp_path):
    """Every device gets its rows of the global batch; unequal configs are one sentence each."""
    workdir = tmp_path / "run"
    arguments = [*ARGUMENTS, f"--workdir={workdir}"]
    with Processes(
        tmp_path / "pair", 2, 4, arguments, "tests/hosts_child.py", ["--config.model.d_ff=64"]
    ) as pair:
        assert pair.status() == [2, 2], pair.texts()
    facts = [json.loads(path.read_text()) for path in pair.outputs]
    assert [found["process"] for found in facts] == [[0, 2, True], [1, 2, False]]
    for found in facts:
        assert found["gathered"] == [[0, 1], ["again", "again"]]
        assert found["from_first"] == "0"
        assert (found["nothing"], found["much"]) == ("", 2**24 + 1)
        assert found["wrong_rows"] == [0] * 7
        assert "Process 1 does not see what process 0 writes to" in found["folder"]
    halves = [[0, 1, 2, 3], 8], [[4, 5, 6, 7], 8]
    for process, found in enumerate(facts):
        # (8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2), (1, 2, 4), (2, 1, 4), alternating
        assert found["blocks"][:2] == [list(halves[process])] * 2
        assert found["blocks"][2] == [[0], 1]  # both supply all rows
        assert found["blocks"][3] == [[2 * process, 2 * process + 1], 4]
        assert found["blocks"][4:6] == [[[process], 2]] * 2
        assert found["blocks"][6] == [[process, process + 2, process + 4, process + 6], 8]
    for text in pair.texts():
        (error,) = [line for line in text.splitlines() if "error" in line]
        assert "config.model.d_ff is 32 in process 0 and 64 in process 1" in error
    assert not workdir.exists()


def test_ctrl_c_is_passed_on_to_all(monkeypatch):
    """JAX's service listens for SIGTERM; a second Ctrl-C interrupts at once."""
    terminated = []
    monkeypatch.setattr(hosts, "count", lambda: 2)
    monkeypatch.setattr(hosts, "listen_for_stop", lambda: None)
    before = signal.signal(signal.SIGTERM, lambda *_: terminated.append(True))
    # A shell that runs the tests in the background has them ignore Ctrl-C.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            assert terminated == [True] and stop.signal is None
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupt)


def test_a_resumed_run_keeps_its_batches():
    config = load_config(str(ROOT / "tests" / "tiny_config.py"))
    eight, sixteen = (AbstractMesh((n, 1, 1), MESH_AXES) for n in (8, 16))
    assert row_multiple(config, eight) == 8
    assert row_multiple(config, sixteen) == row_multiple(config, eight, begun=16) == 16
    with pytest.raises(UserError, match=r"config\.mesh .* into 16 parts, .* multiples of 8;"):
        row_multiple(config, sixteen, begun=8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 2, 1), "--coordinator_address is missing"),
        (("localhost:1234", None, 1), "--num_processes is missing"),
        (("localhost:1234", 2, None), "--process_id is missing"),
        (("localhost", 2, 1), "--coordinator_address must be HOST:PORT, not 'localhost'"),
        (("localhost:1234", 2, 2), "2 processes .* are numbered from 0 to 1"),
    ],
)
def test_flags_that_cannot_work(arguments, message):
    with pytest.raises(UserError, match=message):
        hosts.join(*arguments)


SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}


TPU = {
    "TPU_WORKER_HOSTNAMES": "a,b",
    "TPU_WORKER_ID": "1",
    "MEGASCALE_NUM_SLICES": "1",
    "MEGASCALE_SLICE_ID": "0",
}


@pytest.mark.parametrize(
    ("environment", "meets"),
    [
        ({}, False),
        (TPU, True),
        (TPU | {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, False),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),  # and a server that does not answer
        (SLURM, True),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, False),
        (OPEN_MPI, True),
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, False),
    ],
)
def test_the_cluster_tells_whether_there_are_others(monkeypatch, environment, meets):
    class Met(Exception):
        pass

    def meet(*_):
        raise Met

    def no_answer(_):
        raise OSError

    monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", no_answer)
    on_tpu = "TPU_WORKER_HOSTNAMES" in environment
    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", on_tpu)
    for name in (*SLURM, *OPEN_MPI, *TPU):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(hosts, "_meet", meet)
    with pytest.raises(Met) if meets else contextlib.nullcontext():
        hosts.join()


def test_a_plain_process_is_the_first_and_only_one():
    assert (hosts.index(), hosts.count(), hosts.is_first()) == (0, 1, True)
    assert hosts.gather("name", 7) == [7]
    assert hosts.from_first("name", lambda: b"mine") == b"mine"
    hosts.same({"anything": 1})
