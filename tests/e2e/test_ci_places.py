"""The hook, the action and the snippets of docs/ci.md do what they say, as far as that can be tried offline."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step.get("id", step.get("name")): step for step in ACTION["runs"]["steps"]}
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
SNIPPETS = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "ci.md").read_text(),
                                                        re.MULTILINE | re.DOTALL)]  # fmt: skip


class Ran(NamedTuple):
    """What one step left.

    Attributes:
        code: Its exit code.
        shown: Its log.
        outputs: What it said to other steps.
        summary: What it wrote to the job's summary.
    """

    code: int
    shown: str
    outputs: dict[str, str]
    summary: str


class Runner:
    """Runs steps of the action as GitHub does: in a checkout, with files for outputs and summary."""

    def __init__(self, directory: Path) -> None:
        self.checkout, self.temp = directory / "checkout", directory / "temp"
        for path in (self.checkout, self.temp / "tiecli" / "bin"):
            path.mkdir(parents=True)
        write_program(self.temp / "tiecli" / "bin" / "tiecli")

    def run(self, step: str, **environment: str) -> Ran:
        """Runs one step with the environment that its inputs would give it."""
        outputs, summary = self.temp / "outputs", self.temp / "summary"
        outputs.write_text("")
        summary.write_text("")
        script = self.temp / "step.sh"
        script.write_text(STEPS[step]["run"])
        names = {"RUNNER_TEMP": self.temp, "GITHUB_OUTPUT": outputs, "GITHUB_STEP_SUMMARY": summary}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.checkout,
            env={**os.environ, **{name: str(path) for name, path in names.items()}, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        return Ran(done.returncode, done.stdout, told, summary.read_text())

    def lint(self, paths: str, **inputs: str) -> Ran:
        """Runs the step that lints; inputs not given are the action's defaults."""
        defaults = {name: ACTION["inputs"][name]["default"] for name in ("level", "args", "summary")}
        return self.run("lint", PATHS=paths, **{name.upper(): text for name, text in {**defaults, **inputs}.items()})


def write_program(path: Path) -> None:
    """Writes a `tiecli` that is the one under test."""
    code = "import sys; from tiecli.cli.entry import main; sys.exit(main())"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    path.chmod(0o755)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A runner with an empty checkout."""
    return Runner(tmp_path)


def test_every_input_is_used_and_every_step_is_one_that_runs_here() -> None:
    """What is declared reaches a step; the other steps are actions of others."""
    text = (ROOT / "action.yml").read_text()

    for name, declared in ACTION["inputs"].items():
        assert f"inputs.{name} " in text, name
        assert isinstance(declared["default"], str)
    assert [step["uses"].split("@")[0] for step in ACTION["runs"]["steps"] if "uses" in step] == [
        "actions/setup-python",
        "github/codeql-action/upload-sarif",
    ]
    # Inputs reach scripts through the environment, so that none of them can be a command.
    assert not any("${{" in step["run"] for step in ACTION["runs"]["steps"] if "run" in step)


def test_the_action_reports_findings_and_fails_at_the_end(runner: Runner) -> None:
    """Text in the log and in the summary, SARIF in a file, the exit code for the last step."""
    shutil.copytree(FIXTURES / "gpt2-drifted", runner.checkout / "models" / "drifted")

    ran = runner.lint("models", level="data")

    assert ran.code == 0
    assert ran.outputs == {"exit-code": "1", "sarif": str(runner.temp / "tiecli.sarif")}
    assert "models/drifted" in ran.shown
    assert "error TIE003" in ran.shown
    assert ran.summary.startswith("### tiecli lint\n\n~~~text\n")
    assert ran.summary.endswith("\n~~~\n")
    assert "error TIE003" in ran.summary
    (run,) = json.loads(Path(ran.outputs["sarif"]).read_text())["runs"]
    assert "TIE003" in [result["ruleId"] for result in run["results"]]
    assert runner.run("Result", CODE="1").code == 1


def test_the_action_passes_where_nothing_is_found_and_says_what_was_not_checked(runner: Runner) -> None:
    """Green, with the rules that did not run in log and summary."""
    shutil.copytree(FIXTURES / "llama", runner.checkout / "llama")

    ran = runner.lint("llama")

    assert (ran.code, ran.outputs["exit-code"]) == (0, "0")
    assert "Not checked: " in ran.shown
    assert "Not checked: " in ran.summary
    assert runner.run("Result", CODE="0").code == 0


@pytest.mark.parametrize("paths", ["nowhere", "\n  \n", "llama\nnowhere"])
def test_what_cannot_be_linted_outranks_everything(paths: str, runner: Runner) -> None:
    """A path that is none, no path at all, one good and one bad; and a run that never came to lint."""
    shutil.copytree(FIXTURES / "llama", runner.checkout / "llama")

    assert runner.lint(paths).outputs["exit-code"] == "2"
    assert runner.run("Result", CODE="2").code == 2
    assert runner.run("Result", CODE="").code == 2


def test_only_whole_runs_are_uploaded() -> None:
    """After exit code 2 findings may be missing, and code scanning would close their alerts."""
    condition = STEPS["Upload to code scanning"]["if"]

    assert """contains(fromJSON('["0", "1"]'), steps.lint.outputs.exit-code)""" in condition
    assert "inputs.upload-sarif == 'true'" in condition
    assert STEPS["Result"]["if"] == "${{ !cancelled() }}"


def test_options_are_quoted_as_in_a_shell_and_paths_stand_one_a_line(runner: Runner) -> None:
    """Blanks in paths and options; the summary can be left out."""
    shutil.copytree(FIXTURES / "gpt2-drifted", runner.checkout / "my models" / "drifted one")

    ran = runner.lint(
        "my models\n",
        level="data",
        args="--ignore TIE003 --ignore 'wrong-total-size' --fail-on \"error\"",
        summary="no",
    )

    assert ran.outputs["exit-code"] == "0"
    assert "TIE003" not in ran.shown
    assert ran.summary == ""


def test_names_of_files_are_no_commands_to_the_runner(runner: Runner) -> None:
    """Whatever is shown stands between the two lines that stop commands and take them up again."""
    shutil.copytree(FIXTURES / "gpt2-drifted", runner.checkout / "::warning::x")

    lines = runner.lint(".", level="data").shown.splitlines()

    token = lines[0].removeprefix("::stop-commands::")
    assert len(token) == 36
    assert lines[-1] == f"::{token}::"
    assert any("::warning::x" in line for line in lines[1:-1])


@pytest.mark.parametrize(("version", "package"), [("", str(ROOT)), ("1.2.3", "tiecli==1.2.3")])
def test_the_action_installs_itself_or_a_release(version: str, package: str, runner: Runner) -> None:
    """Into an environment of its own; says which release it became."""
    shutil.rmtree(runner.temp / "tiecli")
    log = runner.temp / "log"
    python = runner.temp / "python"
    # Makes an environment whose Python writes down what it is asked for.
    python.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\nif [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
        'if [ "$1" = -c ]; then echo 9.9; fi\n'
    )
    python.chmod(0o755)

    ran = runner.run("install", PYTHON=str(python), SOURCE=str(ROOT), VERSION=version)

    venv, install, _ = log.read_text().splitlines()
    assert venv == f"-m venv {runner.temp / 'tiecli'}"
    assert install == f"-m pip install --quiet --disable-pip-version-check {package}"
    assert ran.outputs == {"version": "9.9"}


def test_the_hook_is_given_the_files_that_matter() -> None:
    """By their names: `identify` has no types for them."""
    wanted = [
        "model.safetensors",
        "a/model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "a/config.json",
    ]
    others = ["README.md", "tsconfig.json", "model.safetensors.txt", "a/xconfig.json", "tokenizer.json"]

    assert [name for name in wanted + others if re.search(HOOK["files"], name)] == wanted


def test_the_hook_lints_each_checkpoint_once_whatever_files_were_changed(runner: Runner) -> None:
    """Shard, index and config of one checkpoint, as pre-commit gives them."""
    shutil.copytree(FIXTURES / "qwen2-sharded", runner.checkout / "qwen2")
    files = sorted(f"qwen2/{path.name}" for path in (runner.checkout / "qwen2").iterdir())
    assert all(re.search(HOOK["files"], name) for name in files)

    done = run_script(f"{HOOK['entry']} {shlex.join(files)}", runner)

    assert (done.returncode, done.stderr) == (0, "")
    assert "1 checkpoint, " in done.stdout


def test_the_hook_passes_over_what_is_part_of_no_checkpoint(runner: Runner) -> None:
    """Not every `config.json` is a model's; a path that is not there is still an error."""
    (runner.checkout / "config.json").write_text("{}")

    assert run_script(f"{HOOK['entry']} config.json", runner).stdout == "0 checkpoints.\n"
    assert run_script(f"{HOOK['entry']} config.json", runner).returncode == 0
    assert run_script(f"{HOOK['entry']} confjg.json", runner).returncode == 2
    assert run_script("tiecli lint config.json", runner).returncode == 2


def test_the_hook_fails_on_findings(runner: Runner) -> None:
    """A shard is gone that the index names."""
    shutil.copytree(FIXTURES / "qwen2-sharded", runner.checkout / "qwen2")
    (runner.checkout / "qwen2" / "model-00002-of-00003.safetensors").unlink()

    done = run_script(f"{HOOK['entry']} qwen2/model.safetensors.index.json", runner)

    assert done.returncode == 1
    assert "IDX001" in done.stdout


def run_script(script: str, runner: Runner) -> subprocess.CompletedProcess[str]:
    """Runs a script in the checkout, with the `tiecli` under test."""
    path = f"{runner.temp / 'tiecli' / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script], cwd=runner.checkout, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def find_jobs() -> dict[str, Any]:
    """The jobs of the GitLab snippets, by the kind of report that they make."""
    jobs = [job for snippet in SNIPPETS if isinstance(snippet, dict) for job in snippet.values()
            if isinstance(job, dict) and "script" in job]  # fmt: skip
    return {kind: job for job in jobs for kind in job["artifacts"]["reports"]}


def test_the_gitlab_jobs_leave_the_artefacts_that_they_name(runner: Runner) -> None:
    """Their scripts run as they stand, but for the installation; they fail, and the artefacts are there."""
    jobs = find_jobs()
    assert jobs.keys() == {"codequality", "junit"}
    shutil.copytree(FIXTURES / "gpt2-untied", runner.checkout / "models" / "untied")
    tensors = runner.checkout / "models" / "untied" / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-8])

    for kind, job in jobs.items():
        script = [line for line in job["script"] if not line.startswith("pip install")]
        assert len(script) == len(job["script"]) - 1
        assert run_script("\n".join(["set -e", *script]), runner).returncode == 1
        assert job["artifacts"]["when"] == "always"
        text = (runner.checkout / job["artifacts"]["reports"][kind]).read_text()
        if kind == "codequality":
            assert "STF001" in [issue["check_name"] for issue in json.loads(text)]
        else:
            assert [failure.get("type") for failure in ET.fromstring(text).iter("failure")] == ["error"]
