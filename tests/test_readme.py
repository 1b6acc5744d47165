import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {name for name, _ in BLOCKS} == {"console", "sh", "python"}


def test_the_make_commands_exist() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    first, *rest = "".join(blocks("console")).splitlines()
    assert first == "git clone https://github.com/pebench/pebench && cd pebench"
    for line in rest:
        command, target = line.split()
        assert command == "make"
        assert target in targets


@pytest.mark.walks
@pytest.mark.timeout(900)
def test_the_commands_run_as_they_stand(tmp_path: Path, books: None) -> None:
    """In order, in one folder. QUICK and QUICK_2 become two tasks of SMOKE; the app, which runs on, its help."""
    lines = [line for text in blocks("sh") for line in text.splitlines()]
    assert len(lines) > 8
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for line in lines:
        command = re.sub(r"QUICK(_2)?", "SMOKE", line)
        command += " -t copy,language" if "pebench run" in command and "-t" not in command else ""
        command += " --help" if command == "pebench app" else ""
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path},
        )
        assert result.returncode == 0, f"{line}: {result.stdout}{result.stderr}"


@pytest.mark.parametrize("text", blocks("python"))
def test_the_python_runs(text: str) -> None:
    exec(compile(text, "README.md", "exec"), {})


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
