"""How pebench is cited, on the site and in the dataset; a test compares it with CITATION.cff."""

HOME = "https://github.com/pebench/pebench"
AUTHORS = "The pebench authors"
TITLE = "pebench: a benchmark suite and leaderboard for positional encodings of causal Transformer language models"


def cited(version: str) -> str:
    """The BibTeX of a version."""
    fields = {"title": TITLE, "author": f"{{{AUTHORS}}}", "version": version, "url": HOME}
    lines = ",\n".join(f"  {key:7} = {{{value}}}" for key, value in fields.items())
    return f"@software{{pebench,\n{lines}\n}}"
