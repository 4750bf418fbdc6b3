"""The README's code runs, and its commands are the ones that CI runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


@pytest.fixture
def readme():
    if not (ROOT / ".ci").exists():
        pytest.skip("no checkout around the tests")
    return README.read_text()


def test_the_library_example_runs(readme, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert re.fullmatch(r"-?[\d.]+ ± [\d.]+ nats\n", capsys.readouterr().out)


def test_ci_runs_the_readmes_test_command(readme):
    (command,) = re.findall(r"```\n(.*tox)\n```", readme)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(command)


def test_every_linked_file_is_there(readme):
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert (ROOT / target).exists(), target
