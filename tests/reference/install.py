"""Installs PyTorch for the reference tests, but never the gigabytes of its CUDA libraries.

python tests/reference/install.py torch==2.13.0
"""

import importlib.util
import json
import subprocess
import sys

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
CUDA = ("nvidia", "cuda", "triton")


def main(requirement: str) -> None:
    if importlib.util.find_spec("torch"):
        return
    plan = subprocess.run(
        [*PIP, "--dry-run", "--report", "-", requirement],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if plan.returncode:
        sys.exit(f"error: pip finds no way to install {requirement}; see above.")
    names = [item["metadata"]["name"] for item in json.loads(plan.stdout)["install"]]
    if cuda := [name for name in names if name.startswith(CUDA)]:
        sys.exit(
            f"error: pip would install {requirement} with {len(cuda)} packages of CUDA, gigabytes "
            f"that these tests do not use; install a CPU build into {sys.prefix} first "
            "(pytorch.org shows the command for the CPU), then run make test-reference again."
        )
    print(f"Installing {requirement} for the CPU.", flush=True)
    subprocess.run([*PIP, requirement], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
