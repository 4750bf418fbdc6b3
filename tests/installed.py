"""The wheel, installed into an empty environment, at work in an empty folder: `tox -e dist`."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

# What a newcomer runs; each in an environment that knows nothing of a clone.
COMMANDS = (
    "advnets.bench digits --preset quick --epochs 20 --out run",
    "advnets.bench check run",
    "advnets.bench table1 --out table1",
    "advnets.verify --only prop1 certified --out claims",
)
LEFT = (
    "run/report.html",
    "run/samples.png",
    "run/results.json",
    "table1/table1.md",
    "claims/report.html",
)


def main(where):
    base = Path(where).resolve()
    (wheel,) = (base / "dist").glob("*.whl")
    venv.create(base / "empty", with_pip=True, clear=True)
    python = base / "empty" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    folder = base / "folder"
    folder.mkdir(exist_ok=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    clean["JAX_PLATFORMS"] = "cpu"

    def run(*arguments):
        print("$", "python", *arguments, flush=True)
        subprocess.run([python, *arguments], cwd=folder, env=clean, check=True)

    run("-m", "pip", "install", "--quiet", "--no-compile", f"{wheel}[bench,verify]")
    for command in COMMANDS:
        run("-m", *command.split())
    missing = [name for name in LEFT if not (folder / name).is_file()]
    if missing:
        sys.exit(f"not there: {', '.join(missing)}")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    noted = json.loads((folder / "run/results.json").read_text())["provenance"]["commit"]
    if head.returncode == 0 and (noted or "").removesuffix("+changes") != head.stdout.strip():
        sys.exit(f"the run's commit is {noted}, where the wheel was built from {head.stdout}")


if __name__ == "__main__":
    main(*sys.argv[1:])
