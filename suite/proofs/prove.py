"""Exact identities between encodings, measured: `pebench prove`.

Each claim compares two computations that theory says are equal, on random inputs. One side is an encoding. The other
is another encoding, or the literal group action of `encodings/group.py`. Some claims must not hold: they are faults
that papers or reference code document. The tests assert over the same list.
"""

import pkgutil
import platform
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from typing import Any

from pebench.suite.proofs import identities as found
from pebench.suite.proofs.claims import CLAIMS, Claim, Identity


def claims() -> list[Claim]:
    """The claims of every file in `identities/`, by file name and then in the order of the file."""
    for module in sorted(module.name for module in pkgutil.iter_modules(found.__path__)):
        import_module(f"{found.__name__}.{module}")
    return sorted(CLAIMS, key=lambda claim: claim.measure.__module__)


def prove() -> list[Identity]:
    """All identities, measured; takes some seconds."""
    return [claim.check() for claim in claims()]


def document(identities: list[Identity]) -> dict[str, Any]:
    """The table as plain data, with the versions that it was measured with."""
    versions = {name: version(name) for name in ("pebench", "torch")}
    rows = [{**asdict(identity), "proven": identity.proven} for identity in identities]
    return {"versions": {**versions, "python": platform.python_version()}, "identities": rows}
