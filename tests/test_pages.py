"""README, CONTRIBUTING and docs/: every link, path, command and option that they name exists."""

import functools
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from pebench.suite.cli import app

ROOT = Path(__file__).parent.parent
NAMED = ("README.md", "CONTRIBUTING.md", "SECURITY.md", ".github/pull_request_template.md")
PAGES = [*(ROOT / name for name in NAMED), *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = (
    "encodings",
    "tasks",
    "suite",
    "leaderboard",
    "pebench",
    "benchmarks",
    "examples",
    "tests",
    "docs",
    ".github",
)
MADE = {  # what the commands on a page make, and what must not be there
    *("leaderboard/cards/my_idea.json", "leaderboard/citations.bib", "encodings/my_idea.py"),
    "encodings/__init__.py",
}


def named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@functools.cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def dead_links(text: str, page: Path) -> list[str]:
    """The links of a page's text that lead nowhere in this checkout."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


def dead_paths(text: str) -> list[str]:
    """The paths in backticks, below a folder of this repository, at which nothing stands."""
    found = re.findall(rf"`((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*)`", text)
    return [path for path in found if not (ROOT / path).exists() and path not in MADE]


def commands(text: str) -> list[list[str]]:
    """The words of every call of `pebench` in backticks or in a block of code, up to a pipe or the end."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    calls = [call for call in (*lines, *inline) if call.startswith("pebench ")]
    return [re.split(r"\s[#|>]", call)[0].split()[1:] for call in calls]


def wrong_options(words: list[str]) -> list[str]:
    """What of a call `pebench WORDS` the command line does not have: the command itself, or options of it."""
    command: Any = get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands"):
        if rest[0].startswith("-"):
            break
        name = rest.pop(0).rstrip(".,;:")
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
    own = [
        word for before, word in pairwise(["", *rest]) if before != "--sbatch"
    ]  # whose value is an option too
    return [word for word in own if word.startswith("-") and word.partition("=")[0] not in known]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert dead_links(text, page) == []
    assert dead_paths(text) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_options_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = {" ".join(words): found for words in commands(text) if (found := wrong_options(words))}
    assert wrong == {}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([\w-]+)", text, re.MULTILINE)) <= targets


def test_modules_that_are_called_exist() -> None:
    called = {
        m for page in PAGES for m in re.findall(r"python -m ([\w.]*\w)", page.read_text(encoding="utf-8"))
    }
    ours = {m for m in called if m.partition(".")[0] in ("pebench", "benchmarks", "tests")}
    assert len(ours) > 5
    for module in ours:
        place = ROOT / module.removeprefix("pebench.").replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


def test_the_site_has_every_page_of_the_docs() -> None:
    """docs/reference/generate.py lists them; a page that it lacks would be on no menu."""
    listed = (ROOT / "docs/reference/generate.py").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f'"{page.name}"' in listed or page.name == "index.md", page.name
    for name in re.findall(r'"([\w/]+\.md)"', listed):
        assert (ROOT / "docs" / name).is_file() or name.startswith(("reference/", "SUMMARY")), name


def test_the_addresses_of_the_project_are_of_one_repository() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert {"Repository", "Documentation", "Changelog", "Issues"} <= urls.keys()
    assert urls["Repository"] in (ROOT / "CITATION.cff").read_text()
    changelog = urls["Changelog"].removeprefix(f"{urls['Repository']}/blob/main/")
    assert (ROOT / changelog).is_file()


def test_the_checks_see_what_is_not_there() -> None:
    page = ROOT / "README.md"
    assert dead_links(
        "[a](docs/none.md) [b](docs/index.md#none) [c](docs/index.md) [d](https://x.y/z)", page
    ) == [
        "docs/none.md",
        "docs/index.md#none",
    ]
    assert dead_paths("`suite/lm/model.py` `suite/model.py` `suite/lm`") == ["suite/model.py"]
    text = "`pebench borad`\n```sh\npebench run -e rope --sed 1 # --not\n```\n"
    assert [wrong_options(words) for words in commands(text)] == [["--sed"], ["borad"]]
