"""All speed measurements, or some of them, one after another, each in its own process.

python bench/speed [--only mnist] [--rounds N] [--tiny] [--out runs/speed]
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MEASUREMENTS = {
    "mnist": "updates.py --recipe mnist",
    "mnist-tuned": "updates.py --recipe mnist-tuned",
    "cifar10": "updates.py --recipe cifar10",
    "cifar10-conv": "updates.py --recipe cifar10-conv",
    "convolutions": "floor.py --recipe cifar10-conv",
    "curves": "curves.py",
    "devices": "curves.py --only devices",
    "parzen": "parzen.py",
    "rbm": "rbm.py",
    "startup": "startup.py",
    "driver": "driver_overhead.py",
    "streamed": "streamed.py",
}
# Arguments that make a measurement short, for a trial run.
TINY = {
    "mnist": "--tiny",
    "mnist-tuned": "--tiny",
    "cifar10": "--tiny",
    "cifar10-conv": "--tiny",
    "convolutions": "--batch-size 2",
    "curves": "--tiny --updates 3",
    "devices": "--tiny --updates 3",
    "parzen": "--points 300 --samples 1000 --slow-points 10 --checked 10 --curve 1000 2000",
    "rbm": "--updates 2 --hidden 20",
    "startup": "--benchmark digits",
    "streamed": "--rows 1000",
}
# On a CPU, where the devices share its cores.
SIMULATED = "--xla_force_host_platform_device_count=8"


def main():
    parser = argparse.ArgumentParser(
        prog="python -m advnets.bench speed", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", nargs="*", choices=MEASUREMENTS, help="run only these")
    parser.add_argument("--rounds", help="rounds of each measurement; default: its own number")
    parser.add_argument("--tiny", action="store_true", help="narrow players, for a trial run")
    parser.add_argument("--out", type=Path, default=Path("runs/speed"), help="folder for the JSON")
    options = parser.parse_args()

    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, so it is left out (pip install '.[peers]')")
    failed = []
    for name in options.only or MEASUREMENTS:
        script, *arguments = MEASUREMENTS[name].split()
        out = options.out / name
        out = out if script == "curves.py" else out.with_suffix(".json")
        command = [sys.executable, str(HERE / script), *arguments, "--out", str(out)]
        command += ["--rounds", options.rounds] if options.rounds else []
        command += TINY.get(name, "").split() if options.tiny else []
        environment = dict(os.environ)
        if name == "devices" and environment.get("JAX_PLATFORMS") == "cpu":
            environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {SIMULATED}"
        print(f"\n{name}", flush=True)
        code = subprocess.run(command, env=environment).returncode
        if code:
            failed.append(f"{name} (signal {-code})" if code < 0 else name)
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    else:
        print(f"\nresults are in {options.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
