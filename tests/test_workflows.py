"""What GitHub and pre-commit are told names commands, targets and files that exist."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from pebench.suite.cli import app

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()


def loaded(file: Path) -> dict[str, Any]:
    """A YAML file; GitHub's key `on` is true in YAML 1.1."""
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


def steps(file: Path) -> Iterator[dict[str, Any]]:
    for job in loaded(file)["jobs"].values():
        yield from job["steps"]


def scripts() -> dict[str, str]:
    """The shell scripts of CI and the commands that the pull-request template names."""
    found = {".ci/run": (ROOT / ".ci/run").read_text()}
    template = ROOT / ".github/pull_request_template.md"
    found[template.name] = "\n".join(re.findall(r"`([^`]+)`", template.read_text()))
    for file in WORKFLOWS:
        found[file.name] = "\n".join(step["run"] for step in steps(file) if "run" in step)
    return found


@pytest.mark.parametrize("name", scripts())
def test_a_script_makes_targets_that_exist(name: str) -> None:
    targets = re.findall(r"^([^\s:=]+):", MAKEFILE.replace("$(VENV)", ".venv"), re.MULTILINE)
    for target in re.findall(r"\bmake (\S+)", scripts()[name]):
        assert target in targets


@pytest.mark.parametrize("name", scripts())
def test_a_script_calls_commands_and_options_that_exist(name: str) -> None:
    group: Any = get_command(app)
    for words in re.findall(r"\bpebench ([^&|;>\n]+)", scripts()[name]):
        first, *rest = words.split()
        if first.startswith("-"):
            assert first in {o for p in group.params for o in p.opts}
            continue
        command = group.commands[first]
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= options


def test_a_workflow_states_its_permissions_and_pins_its_actions() -> None:
    assert len(WORKFLOWS) >= 4
    for file in WORKFLOWS:
        assert (
            loaded(file)["permissions"] == {"contents": "read"} or "pull_request_target" in file.read_text()
        )
        for step in steps(file):
            assert ("uses" in step) != ("run" in step)
            assert "@" in step.get("uses", "@")


def test_the_review_of_a_pull_request_without_submissions_holds(tmp_path: Path) -> None:
    """The accepting commit removes the folder that it accepts."""
    review = next(
        s["run"] for s in steps(ROOT / ".github/workflows/submission.yml") if "validate" in s.get("run", "")
    )
    (tmp_path / "proposed").mkdir()
    env = {**os.environ, "GITHUB_ENV": os.fspath(tmp_path / "env")}
    done = subprocess.run(["bash", "-e", "-c", review], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "env").read_text() == "failed=0\n"
    assert not (tmp_path / "report.md").exists()


def test_a_form_has_labels_and_different_ids() -> None:
    forms = [loaded(file) for file in FORMS if file.name != "config.yml"]
    assert len(forms) >= 2
    for form in forms:
        assert form["name"]
        assert form["description"]
        ids = [part["id"] for part in form["body"]]
        assert len(set(ids)) == len(ids)
        assert all(part["attributes"]["label"] for part in form["body"])


def test_the_hooks_of_pre_commit_run_tools_that_are_installed() -> None:
    (repository,) = loaded(ROOT / ".pre-commit-config.yaml")["repos"]
    for hook in repository["hooks"]:
        tool = hook["entry"].split()[0]
        assert tool.startswith(".venv/bin/")
        assert (Path(sys.executable).parent / Path(tool).name).exists()
    assert {hook["id"] for hook in repository["hooks"]} == {"ruff", "format", "mypy"}


def test_the_citation_has_what_a_citation_needs() -> None:
    citation = loaded(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "date-released", "license"} <= citation.keys()
