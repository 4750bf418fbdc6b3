"""The README's code runs, and its commands are the ones that CI runs."""

import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def readme():
    if not (ROOT / ".ci").exists():
        pytest.skip("no checkout around the tests")
    return README.read_text("utf-8")


def test_the_library_example_is_that_of_get_started(readme):
    """Which runs when the site is built."""
    first, example = PYTHON.findall(readme)
    assert first in example
    assert first in (ROOT / "docs" / "index.md").read_text("utf-8")
    started = (ROOT / "docs" / "get-started.md").read_text("utf-8")
    for part in example.split("\n\n"):
        assert part.strip() in started


@pytest.mark.long
def test_the_library_example_runs(readme, capsys, tmp_path, monkeypatch):
    _, example = PYTHON.findall(readme)
    assert example.count("epochs=500") == 1
    monkeypatch.chdir(tmp_path)
    with jax.numpy_dtype_promotion("standard"):  # as a reader has it; Optax's Adam needs it
        exec(compile(example.replace("epochs=500", "epochs=2"), "README.md", "exec"), {})
    assert re.fullmatch(r"-?[\d.]+ ± [\d.]+ nats\n", capsys.readouterr().out)
    assert (tmp_path / "samples.png").stat().st_size > 0


def test_ci_runs_the_readmes_test_command(readme):
    (command,) = re.findall(r"```\n(.*tox -e \w+)\n```", readme)
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_every_linked_file_is_there(readme):
    for target in re.findall(r"\]\(([^)#]+)", readme):
        assert target.startswith("https://") or (ROOT / target).exists(), target
