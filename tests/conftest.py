"""Set up before the first test module is imported: JAX on the CPU, array types checked."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import jaxtyping
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")

# From here on every annotated function of the package checks the shapes and dtypes it is given.
jaxtyping.install_import_hook("transformer", "beartype.beartype")

# They need an extra that a plain test environment lacks, and fail to be collected without it.
REFERENCES = ("torch", "transformers", "ctranslate2")
collect_ignore = [] if all(map(importlib.util.find_spec, REFERENCES)) else ["reference"]

ROOT = pathlib.Path(__file__).parents[1]
TINY_CONFIG = ROOT / "tests" / "tiny_config.py"


@pytest.fixture(scope="session")
def run_script():
    """Runs experiments/NAME.py as a user does, in a process of its own at the repository's root.

    The result has stdout, stderr (both text) and returncode; nothing is checked. `name` may also be
    the path of a script elsewhere, `env` holds variables to add to this process's own.
    """

    def run(name, *args, stdin=None, timeout=300, env=None) -> subprocess.CompletedProcess:
        script = name if str(name).endswith(".py") else f"experiments/{name}.py"
        return subprocess.run(
            [sys.executable, str(script), *map(str, args)],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A compilation cache that the processes of these tests share."""
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}


@pytest.fixture(scope="session")
def straight(tmp_path_factory, run_script, compiled):
    """A run that nothing stopped."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    done = run_script("train", f"--config={TINY_CONFIG}", f"--workdir={workdir}", env=compiled)
    assert done.returncode == 0, done.stderr
    return workdir, done


# The files that take longest come first, lest one process be left with them at the end.
_LONG = ("test_notebooks.py", "test_train", "test_tables.py", "test_step.py", "test_prepar")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.path.name.startswith(_LONG))
