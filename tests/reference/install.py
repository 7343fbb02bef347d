"""Installs what the reference tests compare with, but never the gigabytes of CUDA libraries.

python tests/reference/install.py torch==2.13.0 transformers==5.23.0
"""

import importlib.util
import json
import re
import subprocess
import sys

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
CUDA = ("nvidia", "cuda", "triton")


def main(requirements: list[str]) -> None:
    modules = [re.match(r"\w+", requirement)[0] for requirement in requirements]
    missing = [
        requirement
        for requirement, module in zip(requirements, modules, strict=True)
        if not importlib.util.find_spec(module)
    ]
    if not missing:
        return
    wanted = " ".join(missing)
    plan = subprocess.run(
        [*PIP, "--dry-run", "--report", "-", *missing],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if plan.returncode:
        sys.exit(f"error: pip finds no way to install {wanted}; see above.")
    names = [item["metadata"]["name"] for item in json.loads(plan.stdout)["install"]]
    if cuda := [name for name in names if name.startswith(CUDA)]:
        sys.exit(
            f"error: pip would install {wanted} with {len(cuda)} packages of CUDA, gigabytes "
            f"that these tests do not use; install a CPU build of torch into {sys.prefix} first "
            "(pytorch.org shows the command for the CPU), then run make test-reference again."
        )
    print(f"Installing {wanted} for the CPU.", flush=True)
    subprocess.run([*PIP, *missing], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
