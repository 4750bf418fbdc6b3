"""Notes the source's commit in a wheel and a source distribution, for the provenance of results."""

import subprocess
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NOTE = "advnets/_commit.txt"


class CommitHook(BuildHookInterface):
    """Adds the note to what is built; a source distribution brings its own to the wheel."""

    def initialize(self, version, build_data):
        commit = commit_of(Path(self.root))
        if commit is None or version == "editable":
            return
        self.folder = tempfile.TemporaryDirectory()
        note = Path(self.folder.name) / "commit.txt"
        note.write_text(commit)
        prefix = "src/" if self.target_name == "sdist" else ""
        build_data["force_include"][str(note)] = prefix + NOTE


def commit_of(root):
    """The commit of a checkout, marked if its files differ; None where there is none."""

    def git(*arguments):
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root.resolve():
            return None  # an unrelated repository that contains the folder
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--", "src")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + "+changes" if changed else commit
