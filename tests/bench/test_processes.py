"""Several processes: one result, which is that of a single process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers.games import images, leaves, noisy

import advnets
from advnets import bench
from advnets.bench import experiment, folders
from advnets.bench.cli import main

COMMAND = [
    "digits", "--epochs", "1", "--evaluate-every", "1", "--num-samples", "50",
    "--generator.hidden-sizes", "16", "--discriminator.units", "8",
]  # fmt: skip


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def run_together(commands, environments):
    """Two commands at a time, each with a CPU of one device; what they say."""
    common = {
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | common | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command, environment in zip(commands, environments, strict=True)
    ]
    try:
        outputs = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    ends = "\n\n".join(f"{out[-1000:]}\n{err[:3000]}" for out, err in outputs)
    assert [process.returncode for process in started] == [0, 0], ends
    return [out for out, _ in outputs]


def content(folder):
    result = json.loads((folder / "results.json").read_text())
    of_the_occasion = ("provenance", "updates_per_second", "files", "sha256")
    return {k: v for k, v in result.items() if k not in of_the_occasion}


def close(ours, theirs):
    """Equal, but for the rounding of floats."""
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(close(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, float):
        return ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    return ours == theirs


@pytest.mark.long
def test_two_processes_started_by_hand_leave_one_result_which_is_that_of_one(tmp_path):
    place = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process"]
    two = [*COMMAND, "--out", str(tmp_path / "two"), *place]
    commands = [["-m", "advnets.bench", *two, number] for number in ("0", "1")]
    first, second = run_together(commands, [{}, {}])
    assert "Parzen log-likelihood" in first
    assert "Parzen" not in second
    assert main([*COMMAND, "--out", str(tmp_path / "one")]) == 0
    names = [
        {str(path.relative_to(tmp_path / part)) for path in (tmp_path / part).rglob("*.*")}
        for part in ("two", "one")
    ]
    assert {n for n in names[0] if "checkpoints" not in n} == {
        n for n in names[1] if "checkpoints" not in n
    }
    assert close(content(tmp_path / "two"), content(tmp_path / "one"))


def test_no_file_is_written_before_every_process_has_looked_at_the_folder(tmp_path, monkeypatch):
    folder, seen = tmp_path / "run", []

    def choose(*arguments):
        seen.append("looks")
        return folders.choose(*arguments)

    monkeypatch.setattr(experiment, "choose", choose)
    monkeypatch.setattr(experiment, "barrier", lambda _: seen.append("waits"))
    monkeypatch.setattr(experiment, "_write_config", lambda *_: seen.append("writes"))
    experiment.prepare(bench.BENCHMARKS["digits"], experiment.Request(out=folder)).locks.close()
    assert seen == ["looks", "waits", "looks", "waits", "writes"]


def games(folder=None):
    keys = jax.random.split(jax.random.key(0))
    players = eqx.filter_vmap(noisy)(keys)
    return advnets.train_many(
        keys, players, images(), epochs=1, batch_size=5, folder=folder, progress=False
    )


PROGRAM = """
import sys
import numpy as np
from advnets.bench.processes import Processes, join

join(Processes(distributed=True))
sys.path += sys.argv[3:]
import jax
from test_processes import games, leaves

assert (jax.process_count(), jax.device_count()) == (2, 2)
trained = games(folder=sys.argv[1])
arrays = [x for one in trained for x in leaves(one.players)]
np.savez(f"{sys.argv[2]}-{jax.process_index()}.npz", *arrays)
"""


@pytest.mark.long
def test_processes_that_slurm_starts_train_many_games(tmp_path):
    here = Path(__file__).parent
    command = [
        *["-c", PROGRAM, str(tmp_path / "run"), str(tmp_path / "players")],
        *[str(here), str(here.parent)],
    ]
    port = free_port()
    environments = [
        {  # what srun tells its tasks; JAX makes a port of the job's number
            "SLURM_JOB_ID": str(port % 4096),
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": "2",
            "SLURM_PROCID": number,
            "SLURM_LOCALID": number,
        }
        for number in ("0", "1")
    ]
    run_together([command, command], environments)
    alone = games(tmp_path / "one")
    expected = [x for one in alone for x in leaves(one.players)]
    found = [np.load(tmp_path / f"players-{process}.npz") for process in (0, 1)]
    for theirs, *ours in zip(expected, *(one.values() for one in found), strict=True):
        np.testing.assert_array_equal(*ours)
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-5, atol=1e-6)
    for run, one in enumerate(alone):
        (row,) = (tmp_path / f"run/seed-{run}/metrics.jsonl").read_text().splitlines()
        assert close(json.loads(row), one.metrics[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "0"], "devices must be at least 1 and at most 2"),
        *(
            (
                ["--coordinator", address, "--processes", "1", "--process", "0"],
                "must be HOST:PORT, with a port from 1 to 65535",
            )
            for address in ("", "here", ":1", "here:", "::", "here:0", "here:65536", "here:½")
        ),
        (
            ["--coordinator", f"{'x' * 300}:1", "--processes", "1", "--process", "0"],
            "there is no host",
        ),
        (["--devices", "3"], "got 3 (set JAX_NUM_CPU_DEVICES=N in the environment for N devices"),
        (
            ["--devices", "2", "--batch-size", "25"],
            "batch size must be a multiple of the 2 devices",
        ),
        (["--devices", "2", "--seeds", "3"], "number of seeds must be a multiple of the 2 devices"),
        (["--processes", "2", "--process", "0"], "need all of --coordinator HOST:PORT"),
        (["--coordinator", "localhost:1", "--distributed"], "no --distributed"),
        (
            ["--coordinator", "localhost:1", "--processes", "2", "--process", "2"],
            "below --processes 2; got 2",
        ),
    ],
)
def test_what_does_not_divide_or_lacks_is_refused(arguments, message, tmp_path, capsys):
    assert main([*COMMAND, *arguments, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
