"""Writes the reference pages and the navigation of the site while mkdocs builds it; nothing of it is committed."""

import subprocess
import sys
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("encodings", "tasks", "suite", "leaderboard")

SECTIONS = {
    "How to": ["submit.md", "ranks.md", "extend.md", "clusters.md", "gpu.md", "scale.md", "examples.md"],
    "Results": [
        "leaderboard.md",
        "validity.md",
        "variants.md",
        "map.md",
        "standard2.md",
        "version1.md",
        "standard.md",
    ],
    "Project": ["architecture.md", "speed.md", "glossary.md", "releasing.md"],
    "Decisions": sorted(f"decisions/{page.name}" for page in (ROOT / "docs/decisions").glob("*.md")),
}


def title(page: str) -> str:
    """The first heading of a page of docs/."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


summary = ["* [pebench](index.md)"]
for section, pages in SECTIONS.items():
    summary += [f"* {section}", *(f"    * [{title(page)}]({page})" for page in pages)]
summary += [
    "* Reference",
    "    * [Command line](reference/cli.md)",
    "    * [import pebench](reference/pebench.md)",
]

with mkdocs_gen_files.open("reference/cli.md", "w") as page:
    command = [sys.executable, "-P", "-m", "typer", "pebench.suite.cli", "utils", "docs", "--name", "pebench"]
    page.write(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

with mkdocs_gen_files.open("reference/pebench.md", "w") as page:
    page.write("# import pebench\n\n::: pebench\n")

for part in PARTS:
    summary.append(f"    * {part}")
    for file in sorted((ROOT / part).rglob("*.py")):
        parts = ("pebench", *file.relative_to(ROOT).with_suffix("").parts)
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if len(parts) == 2 and file.name == "__init__.py":
            continue
        name = ".".join(parts)
        with mkdocs_gen_files.open(f"reference/{name}.md", "w") as page:
            page.write(f"# {name}\n\n::: {name}\n")
        summary.append(f"        * [{'.'.join(parts[2:])}](reference/{name}.md)")

with mkdocs_gen_files.open("SUMMARY.md", "w") as nav:
    nav.write("\n".join(summary) + "\n")
