"""Several processes as one run: how they meet, what they must agree on, how they end together.

JAX's distributed runtime is the engine: its coordination service brings the processes together,
notices one that dies and ends the others, and spreads the news that one is to stop. What stands
here goes over that service and never over the devices, so nothing is compiled for it. (Its store
and the description of the clusters have no public name; all that takes them is in this file.) In a
plain process all of it is trivial: it is the first and only one.
"""

import atexit
import contextlib
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import jax
from jax._src import clusters, distributed

from transformer.errors import UserError

# A process that sends no sign of life for so long is taken for dead, and ends all: JAX's default
# of 100 s lets a rented machine wait for longer than a minute.
HEARTBEAT_SECONDS = 30
MEETING_SECONDS = 120
# Those whose environment is recognised without a network or a package of their own.
CLUSTERS = ("ompi", "slurm", "gketpu", "gcetpu")

_PREFIX = "transformer"
_FAILED = f"{_PREFIX}/failed"
_LOST = re.compile(
    r"Gloo|UNAVAILABLE|Socket closed|Connection (reset|closed)|remote process exited"
)
_PART = 2**24  # bytes of a message; of 300 million in one the service dies
_FOREVER = 10**9  # milliseconds; a process that dies meanwhile ends this one
_asked: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
_ending = threading.Lock()  # of the threads of a process, one has the last word

Value = TypeVar("Value", str, bytes)


def join(
    address: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Meets the other processes of a run, before anything else asks for JAX's devices.

    With no argument, the cluster's environment tells: Open MPI's, Slurm's, a Cloud TPU's. Where
    that speaks of one process or there is none, nothing happens.

    Args:
      address: HOST:PORT of the process with number 0, reachable from all.
      num_processes: how many there are.
      process_id: the number of this one, from 0.

    Raises:
      UserError: an argument is missing or impossible, or differs from that of process 0. If the
        others do not come within two minutes, the process ends with a sentence and status 2.
    """
    given = {"coordinator_address": address, "num_processes": num_processes}
    given["process_id"] = process_id
    if all(value is None for value in given.values()):
        num_processes, process_id = _told_by_cluster()
        if num_processes > 1:
            _meet(num_processes, process_id, "the address that the cluster names", {})
    else:
        _check(given)
        if num_processes > 1:
            # On a cluster, too: it would give each process one device only.
            given |= {"cluster_detection_method": "deactivate"}
            _meet(num_processes, process_id, address, given)


def _meet(num_processes: int, process_id: int, where: str, given: dict[str, Any]) -> None:
    """Starts JAX's runtime with what is `given`; the other arguments are for the user's eyes."""
    _keep_stdout_for_results()
    jax.config.update("jax_enable_preemption_service", False)  # see `listen_for_stop`
    met = threading.Event()
    waiting = (met, f"process {process_id} of {num_processes}", where)
    threading.Thread(target=_give_up, args=waiting, daemon=True).start()
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's waits for what JAX does
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=2 * MEETING_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"The processes of this run cannot meet at {where} ({reason}); that must be an address "
            "of process 0 with a port that is free."
        ) from error
    finally:
        met.set()
        signal.signal(signal.SIGINT, previous)
    _watch_others()
    same({"--num_processes": num_processes})
    devices = jax.device_count()  # all ask at once, for here they exchange what they have
    if is_first():
        _say(f"{num_processes} processes, {devices} devices")
    else:
        _say(f"process {process_id} of {num_processes} has joined; process 0 reports")


def _told_by_cluster() -> tuple[int, int]:
    """Number of processes and of this one, by JAX's knowledge of clusters; (1, 0) on none."""
    known = [cluster for cluster in clusters.ClusterEnv._cluster_types if cluster.name in CLUSTERS]
    try:
        cluster = next((cluster for cluster in known if cluster.is_env_present()), None)
        processes = cluster.get_process_count() if cluster else 1
    except (ImportError, OSError):  # the TPU of a notebook, say, to which no Google server speaks
        return 1, 0
    return processes, cluster.get_process_id() if processes > 1 else 0


def _check(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is None:
            raise UserError(
                f"--{name} is missing; several processes take --coordinator_address=HOST:PORT, "
                "--num_processes and --process_id, or none of them on a cluster that JAX knows."
            )
    address, num_processes, process_id = given.values()
    if not re.fullmatch(r".+:\d{1,5}", address):
        raise UserError(f"--coordinator_address must be HOST:PORT, not {address!r}.")
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id is {process_id}, but {num_processes} processes (--num_processes) are "
            f"numbered from 0 to {num_processes - 1}."
        )


def _keep_stdout_for_results() -> None:
    """On CPUs a library below JAX writes a line there for every connection it makes."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _give_up(met: threading.Event, who: str, where: str) -> None:
    """Says what this process is waiting for, and ends it: JAX would abort with a stack trace."""
    if not met.wait(5):
        _say(f"{who} waits for the others at {where}")
    if not met.wait(MEETING_SECONDS):
        _say(
            f"error: {who} has not met the others at {where} within {MEETING_SECONDS} s; check "
            "--coordinator_address (that of process 0), --num_processes, that all were started, "
            "and that no firewall stands between them."
        )
        os._exit(2)


def _client() -> Any | None:
    return distributed.global_state.client


def count() -> int:
    """Number of processes. Unlike `jax.process_count` it starts no backend."""
    return distributed.global_state.num_processes


def index() -> int:
    """Number of this process."""
    return distributed.global_state.process_id


def is_first() -> bool:
    """Whether this is the process that writes logs and speaks to the user."""
    return index() == 0


def gather(name: str, value: Any) -> list[Any]:
    """The JSON-able `value` of every process, in their order. All of them must come here."""
    if count() == 1:
        return [value]
    key = f"{_PREFIX}/{name}/{next(_asked[name])}"
    _client().key_value_set(f"{key}/{index()}", json.dumps(value))
    get = _client().blocking_key_value_get
    return [json.loads(_wait(get, f"{key}/{process}")) for process in range(count())]


def from_first(name: str, make: Callable[[], bytes]) -> bytes:
    """What `make` returns in the first process; the others wait for it and call nothing."""
    if count() == 1:
        return make()
    key = f"{_PREFIX}/{name}/{next(_asked[name])}"
    if is_first():
        value = make()
        parts = [value[start : start + _PART] for start in range(0, len(value), _PART)]
        _client().key_value_set_bytes(key, str(len(parts)).encode())
        for number, part in enumerate(parts):
            _client().key_value_set_bytes(f"{key}/{number}", part)
    get = _client().blocking_key_value_get_bytes
    return b"".join(_wait(get, f"{key}/{number}") for number in range(int(_wait(get, key))))


def _wait(get: Callable[[str, int], Value], key: str) -> Value:
    """As long as it takes, or until Ctrl-C; if the one that is to come dies, JAX ends this one."""
    while True:
        try:
            return get(key, 1_000)
        except RuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def same(
    values: Mapping[str, Any], advice: str = "start all processes with the same command"
) -> None:
    """Compares JSON-able values, by name, of all processes.

    Raises:
      UserError: in every process, if two differ; it names the first value that does.
    """
    first, *others = gather("same", values)
    for process, other in enumerate(others, 1):
        for name, value in first.items():
            if other[name] != value:
                raise UserError(
                    f"{name} is {value!r} in process 0 and {other[name]!r} in process {process}; "
                    f"{advice}."
                )


def listen_for_stop() -> None:
    """From here on SIGTERM to any process is news to all (`transformer.training.signals`).

    JAX's preemption service takes SIGTERM from Python's own handler, and agrees on a step that is
    counted from zero, for which a resumed run would wait in vain: so it starts when steps begin.
    """
    if distributed.global_state.preemption_sync_manager is None:
        jax.config.update("jax_enable_preemption_service", True)
        distributed.global_state.initialize_preemption_sync_manager()


def fail(status: int, sentence: str, message: str = "") -> NoReturn:
    """Ends this process, which says `message`, and the others, which are told the `sentence`.

    Leaving in the usual way would wait for processes that wait for this one.
    """
    with _ending:
        if message:
            _say(message)
        told = json.dumps([status, f"process {index()}: {sentence}"])
        with contextlib.suppress(RuntimeError):  # where the service is gone, all are
            for process in range(count()):
                _client().key_value_set(f"{_FAILED}/{process}", told, allow_overwrite=True)
        _leave(status)


def lost_contact(error: Exception) -> str | None:
    """What to say where `error` means that another process has died or cannot be reached."""
    if not isinstance(error, jax.errors.JaxRuntimeError) or not _LOST.search(str(error)):
        return None
    return (
        f"process {index()} lost contact with another one, see what the others say "
        f"({str(error).splitlines()[0]}); the same commands go on from the last checkpoint."
    )


def _watch_others() -> None:
    """Starts a thread that waits, at no cost, for another process to fail, and ends this one."""
    own, client = f"{_FAILED}/{index()}", _client()

    def watch() -> None:
        try:
            told = client.blocking_key_value_get(own, _FOREVER)
        except RuntimeError:  # the service is gone, and JAX ends this process
            return
        if told:
            status, sentence = json.loads(told)
            with _ending:
                _say(f"error: {sentence}")
                _leave(status)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

    @atexit.register  # before JAX takes leave, and before no thread may call Python any more
    def release() -> None:
        with contextlib.suppress(RuntimeError):
            client.key_value_set(own, "")
        thread.join(5)


def _leave(status: int) -> NoReturn:
    """Ends the process when all have heard: the first one's end is the end of the service."""
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(RuntimeError):
        _client().wait_at_barrier(_FAILED, 5_000)
        if is_first():
            time.sleep(0.5)
    os._exit(status)
