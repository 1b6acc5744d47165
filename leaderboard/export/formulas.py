"""Formulas of encodings as MathML, which browsers typeset without a script."""

import html
from xml.etree import ElementTree

from latex2mathml.converter import convert_to_element

LONGEST = 2000  # characters of LaTeX
TAGS = frozenset({
    "math", "menclose", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mphantom", "mroot", "mrow", "ms", "mspace",
    "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover",
})  # fmt: skip
KEPT = frozenset({
    "accent", "accentunder", "columnalign", "columnlines", "display", "displaystyle", "fence", "form", "height",
    "linethickness", "lspace", "mathvariant", "maxsize", "minsize", "rowspacing", "rspace", "scriptlevel", "separator",
    "stretchy", "width", "xmlns",
})  # fmt: skip


def mathml(latex: str) -> str:
    """A formula as MathML in a block of its own; as text where it is not LaTeX that is understood.

    Records are written by strangers. So only known elements and attributes are kept, and all text is escaped: LaTeX
    has commands for links, styles and classes.
    """
    try:
        formula = convert_to_element(latex[:LONGEST], display="block")
        for part in formula.iter():
            if part.tag not in TAGS:
                raise ValueError(f"<{part.tag}> is no element of a formula")
            part.attrib = {name: value for name, value in part.attrib.items() if name in KEPT}
            part.text = html.unescape(part.text or "")
        return f'<div class="formula">{ElementTree.tostring(formula, encoding="unicode")}</div>'
    except Exception:  # the errors of latex2mathml have no base class of their own
        return f"<pre>{html.escape(latex)}</pre>"
