"""Formulas of the site: every encoding's is typeset, and a stranger's is never more than a formula."""

import re

import pytest

from pebench.encodings import registry
from pebench.leaderboard.export.formulas import KEPT, TAGS, mathml


def test_the_formula_of_every_encoding_is_typeset() -> None:
    for name in registry.names():
        drawn = mathml(registry.resolve(name)[1].formula)
        assert drawn.startswith('<div class="formula"><math '), name
        assert "\\" not in drawn, f"a command of {name}'s formula is left as it was written"


@pytest.mark.parametrize(
    "latex",
    [
        r"\text{<img src=x onerror=alert(1)>}",
        r"<script>alert(1)</script>",
        r"\href{javascript:alert(1)}{x}",
        r"\style{background:url(http://outside)}{x}",
        r"\class{copy-link}{x}",
        r"\text{</math><b>}",
        r"\frac{</pre><b>",
        r"\unknown{<b>}",
        "x^" * 3000,
        "",
    ],
)
def test_a_hostile_formula_is_a_formula_or_text(latex: str) -> None:
    drawn = mathml(latex)
    found = re.findall(r"<\s*/?\s*([^\s/>]+)([^>]*)>", drawn)
    assert {tag for tag, _ in found} <= TAGS | {"div", "pre"}
    names = {name for _, attributes in found for name in re.findall(r"([\w:-]+)=", attributes)}
    assert names <= KEPT | {"class"}
    assert 'class="copy-link"' not in drawn
    assert "url(" not in drawn or drawn.startswith("<pre>") or "<mtext>" in drawn
