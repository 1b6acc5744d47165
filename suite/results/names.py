"""What an encoding, a task and a profile may be called: the one rule of every command and of every record.

A name becomes a folder of records, a file of the repository, a Python module and a word on the command line.
"""

import difflib
import keyword
import re
from collections.abc import Iterable

LONGEST = 40  # characters of an encoding's name
WHOLE = 80  # characters of a sum's or an extension's name
RULE = f"lower-case letters, digits and underscores, a letter first, at most {LONGEST} characters"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PROFILE = re.compile(r"[A-Z][A-Z0-9_]*")
# Windows gives these to devices: no file or folder of a repository can have such a name there.
DEVICES = {"con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(10))}


def name_problem(name: object) -> str:
    """Why an encoding or a task cannot have this name; empty where it can.

    >>> name_problem("my_idea"), name_problem("lambda")
    ('', "is a word of Python's own")
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"is not a name: use {RULE}"
    if len(name) > LONGEST:
        return f"has {len(name)} characters: use at most {LONGEST}"
    if keyword.iskeyword(name) or keyword.iskeyword(name.capitalize()):
        return "is a word of Python's own"
    return "is a device on Windows, and no file there can have this name" if name in DEVICES else ""


def whole_problem(name: object) -> str:
    """Why a record cannot be of this encoding: a name, a sum such as `rope+fox`, or either extended: `rope@yarn`.

    Methods stand on top of each other as encodings do: `rope@yarn+logn`.

    >>> whole_problem("rope+fox@yarn+logn"), whole_problem("rope++fox")
    ('', "'' is not a name: use lower-case letters, digits and underscores, a letter first, at most 40 characters")
    """
    if not isinstance(name, str):
        return f"is not a name: use {RULE}"
    if len(name) > WHOLE:
        return f"has {len(name)} characters: use at most {WHOLE}"
    trained, extended, method = name.partition("@")
    parts = [*trained.split("+"), *(method.split("+") if extended else [])]
    for part in parts:
        if problem := name_problem(part):
            return problem if part == name else f"{part!r} {problem}"
    return ""


def trained(name: str) -> str:
    """The encoding whose training a record of this name reads.

    >>> trained("rope@yarn"), trained("rope+fox")
    ('rope', 'rope+fox')
    """
    return name.partition("@")[0]


def profile_problem(name: object) -> str:
    """Why a profile cannot have this name; empty where it can.

    >>> profile_problem("STANDARD"), profile_problem("standard")
    ('', 'is not a name: use upper-case letters, digits and underscores, a letter first, at most 40 characters')
    """
    if (
        isinstance(name, str)
        and _PROFILE.fullmatch(name)
        and len(name) <= LONGEST
        and name.lower() not in DEVICES
    ):
        return ""
    return f"is not a name: use {RULE.replace('lower', 'upper')}"


def hint(name: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: the nearest known one, else all of them.

    >>> hint("rpoe", ["alibi", "rope"]), hint("zzz", ["alibi", "rope"])
    ("did you mean 'rope'?", 'there are: alibi, rope')
    """
    known = list(known)
    alike = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), alike, n=1)
    return f"did you mean {alike[near[0]]!r}?" if near else f"there are: {', '.join(known)}"
