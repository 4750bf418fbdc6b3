"""The command in several processes: one result, which is that of a single process."""

import json
import os
import socket
import subprocess
import sys

import pytest

from advnets.bench.__main__ import main

pytestmark = pytest.mark.usefixtures("quick_compilation")

COMMAND = [
    sys.executable, "-m", "advnets.bench", "digits", "--epochs", "1", "--evaluate-every", "1",
    "--num-samples", "50", "--generator.hidden-sizes", "16", "--discriminator.units", "8",
]  # fmt: skip


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def run_together(arguments, slurm):
    """The command in two processes that find each other on the loopback address."""
    port = free_port()
    started = []
    for number in ("0", "1"):
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"}
        if slurm:  # what srun tells its tasks; JAX makes a port of the job's number
            where = ["--distributed"]
            environment |= {
                "SLURM_JOB_ID": str(port % 4096),
                "SLURM_STEP_NODELIST": "localhost",
                "SLURM_NTASKS": "2",
                "SLURM_PROCID": number,
                "SLURM_LOCALID": number,
            }
        else:
            where = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", number]
        started.append(
            subprocess.Popen(
                [*COMMAND, *arguments, *where],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], said
    return [out for out, _ in said]


def content(folder):
    result = json.loads((folder / "results.json").read_text())
    return {k: v for k, v in result.items() if k not in ("provenance", "updates_per_second")}


def close(ours, theirs):
    """Equal, but for the rounding of floats."""
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(close(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, float):
        return ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    return ours == theirs


@pytest.mark.parametrize(("seeds", "slurm"), [("1", False), ("2", True)])
def test_two_processes_leave_one_result_which_is_that_of_one(seeds, slurm, tmp_path):
    arguments = ["--seeds", seeds, "--out"]
    first, second = run_together([*arguments, str(tmp_path / "two")], slurm)
    assert "Parzen log-likelihood" in first
    assert "Parzen" not in second
    assert main([*COMMAND[3:], *arguments, str(tmp_path / "one")]) == 0
    names = [
        {str(path.relative_to(tmp_path / part)) for path in (tmp_path / part).rglob("*.*")}
        for part in ("two", "one")
    ]
    assert {n for n in names[0] if "checkpoints" not in n} == {
        n for n in names[1] if "checkpoints" not in n
    }
    assert close(content(tmp_path / "two"), content(tmp_path / "one"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "0"], "devices must be at least 1 and at most 2"),
        (["--devices", "3"], "got 3 (JAX_NUM_CPU_DEVICES=N in the environment gives a CPU N)"),
        (
            ["--devices", "2", "--batch-size", "25"],
            "batch size must be a multiple of the 2 devices",
        ),
        (["--devices", "2", "--seeds", "3"], "number of seeds must be a multiple of the 2 devices"),
        (["--processes", "2", "--process", "0"], "need --coordinator HOST:PORT"),
        (["--coordinator", "localhost:1", "--distributed"], "no --distributed"),
        (
            ["--coordinator", "localhost:1", "--processes", "2", "--process", "2"],
            "below --processes 2; got 2",
        ),
    ],
)
def test_what_does_not_divide_or_lacks_is_refused(arguments, message, tmp_path, capsys):
    assert main([*COMMAND[3:], *arguments, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
