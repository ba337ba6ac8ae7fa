"""The hook, the action and the snippets of docs/ci.md, as pre-commit and the owners' schemas see them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"
SNIPPETS = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "ci.md").read_text(), re.MULTILINE | re.DOTALL)


def run_module(name: str, *arguments: object, at: Path) -> subprocess.CompletedProcess[str]:
    """Runs a module of the extra `peer` in a directory, or skips."""
    if find_spec(name) is None:
        pytest.skip(f"{name} comes with the extra `peer`")
    # Hooks find the `tiecli` of this environment.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["PRE_COMMIT_HOME"] = str(at / ".cache-of-hooks")
    command = [sys.executable, "-m", name, *map(str, arguments)]
    return subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)


def assert_follows(document: Path, schema: str, directory: Path) -> None:
    """A file is what the schema of its owner says, as check-jsonschema carries it."""
    done = run_module("check_jsonschema", "--builtin-schema", f"vendor.{schema}", document, at=directory)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_follows_githubs_schema(tmp_path: Path) -> None:
    """Inputs, outputs and steps of a composite action."""
    assert_follows(ROOT / "action.yml", "github-actions", tmp_path)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_follow_the_schemas_of_their_places(snippet: str, tmp_path: Path) -> None:
    """Each is a workflow, a pipeline or a configuration of pre-commit."""
    document: Any = yaml.safe_load(snippet)
    file = tmp_path / "snippet.yml"
    file.write_text(snippet)
    if "repos" in document:
        done = run_module("pre_commit", "validate-config", file, at=tmp_path)
        assert done.returncode == 0, done.stdout
    else:
        assert_follows(file, "github-workflows" if "jobs" in document else "gitlab-ci", tmp_path)


def test_precommit_accepts_the_manifest(tmp_path: Path) -> None:
    """Every member is known, and of the right kind."""
    done = run_module("pre_commit", "validate-manifest", ROOT / ".pre-commit-hooks.yaml", at=tmp_path)
    assert done.returncode == 0, done.stdout


def test_precommit_runs_the_hook_on_what_a_commit_touches(tmp_path: Path) -> None:
    """A good checkpoint passes; with a shard gone it fails; other files do not call the hook.

    The hook's environment is this one, since a fresh one would be fetched from a network.
    """
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    local = {"repos": [{"repo": "local", "hooks": [{**hook, "language": "system"}]}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(local))
    shutil.copytree(FIXTURES / "qwen2-sharded", tmp_path / "qwen2")
    (tmp_path / "notes.txt").write_text("nothing")
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)

    sound = run_module("pre_commit", "run", "--all-files", "--verbose", at=tmp_path)
    other = run_module("pre_commit", "run", "--files", "notes.txt", at=tmp_path)
    (tmp_path / "qwen2" / "model-00002-of-00003.safetensors").unlink()
    broken = run_module("pre_commit", "run", "--files", "qwen2/config.json", at=tmp_path)

    assert sound.returncode == 0, sound.stdout
    assert sound.stdout.count("1 checkpoint, ") == 1
    assert other.returncode == 0
    assert "(no files to check)" in other.stdout
    assert broken.returncode == 1
    assert "IDX001" in broken.stdout


def test_precommit_sees_a_deleted_shard_with_the_options_that_the_page_gives(tmp_path: Path) -> None:
    """By itself the hook is not called for it."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    documents = [yaml.safe_load(snippet) for snippet in SNIPPETS]
    plain, always = [it["repos"][0]["hooks"][0] for it in documents if "repos" in it]
    shutil.copytree(FIXTURES / "qwen2-sharded", tmp_path / "qwen2")
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "all"]
    for command in (["git", "init", "-q"], ["git", "add", "."], commit):
        subprocess.run(command, cwd=tmp_path, check=True)

    codes = []
    subprocess.run(["git", "rm", "-q", "qwen2/model-00002-of-00003.safetensors"], cwd=tmp_path, check=True)
    for options in (plain, always):
        local = {"repos": [{"repo": "local", "hooks": [{**hook, **options, "language": "system"}]}]}
        (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(local))
        subprocess.run(["git", "add", ".pre-commit-config.yaml"], cwd=tmp_path, check=True)
        codes.append(run_module("pre_commit", "run", at=tmp_path).returncode)

    assert codes == [0, 1]
