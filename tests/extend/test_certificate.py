"""The certificate of a method, and methods that each fail one of its checks."""

import json

import pytest
import torch
from typer.testing import CliRunner

from pebench.encodings.extension import (
    CLAIMS,
    METHODS,
    Claims,
    Regrouped,
    Retuned,
    View,
    Windowed,
    methods,
    same,
)
from pebench.encodings.registry import EncodingError
from pebench.suite.cli import app
from pebench.suite.extend.certificate import certify_method
from pebench.suite.extend.profiles import EXTEND_QUICK
from pebench.suite.extend.run import named
from pebench.suite.extend.trial import method_named
from tests.walks import some

QUICK = (
    "pi",
    "ntk_dynamic",
    "yarn+logn",
    "longrope2_searched",
    "self_extend",
    "dual_chunk+logn",
    "streaming",
)


@pytest.mark.parametrize(
    "method", some([*methods(), "yarn+logn", "dual_chunk+logn", "logn+streaming"], *QUICK)
)
def test_every_method_holds(method):
    assert [check.name for check in certify_method(method) if not check.passed] == []


class Late(Retuned):
    """Claims what pi does not do."""

    title, paper, formula = "late", "x", "x"
    change = staticmethod(lambda frequencies, factor, length: frequencies / factor)


class Infinite(Retuned):
    title, paper, formula = "infinite", "x", "x"
    change = staticmethod(lambda frequencies, factor, length: frequencies / 0)


class Guessing(Windowed):
    """Reads positions from the shape of what it gets."""

    title, paper, formula, share = "guessing", "x", "x", 0.25

    def views(self):
        return View(same, same), View(lambda pos: pos - pos[0], same)


class Peeking(Regrouped):
    """Places a key by the number of all keys, later ones too."""

    title, paper, formula = "peeking", "x", "x"

    def views(self):
        return (View(same, same),) * 2

    def chosen(self, at, keys):
        return torch.full((len(at.pos), len(keys.pos)), len(keys.pos) % 2)

    def qk(self, q, k, at):
        q, k = super().qk(q, k, at)
        return q, k * k[..., -1:, :]


class Grouped(Windowed):
    """Claims to be relative, and its groups begin at the text's beginning."""

    title, paper, formula, share, relative = "grouped", "x", "x", 0.25, True

    def views(self):
        return View(same, same), View(lambda pos: pos // 7, lambda pos: pos // 7)


class Blind(Regrouped):
    """Sees no key far from the beginning."""

    title, paper, formula = "blind", "x", "x"

    def views(self):
        return (View(same, same),)

    def chosen(self, at, keys):
        return torch.zeros(len(at.pos), len(keys.pos), dtype=torch.long)

    def hidden(self, at, keys):
        return (at.pos > 999_999)[:, None].expand(-1, len(keys.pos))


@pytest.mark.parametrize(
    ("cls", "claim", "check"),
    [
        (Late, Claims(within=True), "reads the trained length unchanged"),
        (Infinite, Claims(), "is finite at position 1,000,000"),
        (Guessing, Claims(), "decodes through the cache as it reads"),
        (Peeking, Claims(), "hides the future"),
        (Grouped, Claims(), "reads at position 1,000,000 as at the beginning"),
        (Blind, Claims(), "reads at position 1,000,000 as at the beginning"),
    ],
)
def test_a_wrong_method_fails_its_check(cls, claim, check, monkeypatch):
    monkeypatch.setitem(METHODS, "wrong", cls)
    monkeypatch.setitem(CLAIMS, "wrong", claim)
    assert check in [each.name for each in certify_method("wrong") if not each.passed]


class Untitled(Retuned):
    paper, formula = "x", "x"
    change = staticmethod(lambda frequencies, factor, length: frequencies)


class Unchanged(Retuned):
    title, paper, formula = "unchanged", "x", "x"


class Short(Retuned):
    title, paper, formula = "short", "x", "x"
    change = staticmethod(lambda frequencies, factor, length: frequencies[:-1])


class Raising(Retuned):
    title, paper, formula = "raising", "x", "x"
    change = staticmethod(lambda frequencies, factor, length: frequencies / length["no"])


class Shareless(Windowed):
    title, paper, formula = "shareless", "x", "x"

    def views(self):
        return View(same, same), View(same, same)


class Outside(Regrouped):
    title, paper, formula = "outside", "x", "x"

    def views(self):
        return ()

    def chosen(self, at, keys):
        return torch.zeros(len(at.pos), len(keys.pos), dtype=torch.long)


class Placing(Late):
    def positions(self, index, tokens, memory):
        return index // 2


class Embedding(Late):
    def embed(self, x, pos):
        return x + 1


class NoMethod:
    pass


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (Untitled, "Untitled does not say its title"),
        (Unchanged, "Unchanged has no `change`"),
        (Short, r"`change` of Short gives \(3,\) for frequencies of shape \(4,\)"),
        (Raising, "`change` of Raising fails: TypeError"),
        (Shareless, "Shareless has no `share`"),
        (Outside, "no text can be read with wrong"),
        (Placing, "Placing defines `positions`"),
        (Embedding, "Embedding defines `embed`"),
        (NoMethod, "NoMethod is no Extended"),
    ],
)
def test_what_is_no_method_is_refused_with_the_reason(cls, says, monkeypatch):
    monkeypatch.setitem(METHODS, "wrong", cls)
    with pytest.raises(EncodingError, match=says):
        certify_method("wrong")
    with pytest.raises(EncodingError, match=says):
        named(["none", "wrong+logn"], EXTEND_QUICK)


def test_a_method_of_a_file_stands_below_another(tmp_path):
    file = tmp_path / "a+b.py"
    file.write_text(
        "from pebench.encodings.extension import Retuned, method\n\n\n"
        '@method("below")\nclass Below(Retuned):\n    title, paper, formula = "below", "unpublished", "x"\n\n'
        "    @staticmethod\n    def change(frequencies, factor, length):\n        return frequencies / factor\n"
    )
    try:
        specs = [str(file), f"{file}:Below", f"{file}:Below+logn", f"{file}+logn", "yarn+logn"]
        assert named(specs, EXTEND_QUICK) == ["below", "below", "below+logn", "below+logn", "yarn+logn"]
        checked = CliRunner().invoke(app, ["check", "--extension", f"{file}:Below+logn", "--json"])
        assert checked.exit_code == 0, checked.output
    finally:
        METHODS.pop("below", None)
        CLAIMS.pop("below", None)


def test_the_template_is_a_method_that_holds(tmp_path):
    runner = CliRunner()
    written = runner.invoke(app, ["new", "my_method", "--extension", "--folder", str(tmp_path)])
    assert written.exit_code == 0, written.output
    file = tmp_path / "my_method.py"
    assert f"pebench check --extension {file}:MyMethod" in written.output
    try:
        checked = runner.invoke(app, ["check", "--extension", f"{file}:MyMethod", "--json"])
        assert checked.exit_code == 0, checked.output
        assert json.loads(checked.stdout)["encoding"] == "my_method"
        assert (
            runner.invoke(app, ["new", "my_method", "--extension", "--folder", str(tmp_path)]).exit_code != 0
        )
    finally:
        METHODS.pop("my_method", None)
        CLAIMS.pop("my_method", None)
    assert "already" in str(runner.invoke(app, ["new", "yarn", "--extension"]).exception)


def test_methods_are_listed():
    rows = json.loads(CliRunner().invoke(app, ["ls", "extensions", "--json"]).stdout)
    assert {row["name"] for row in rows} == set(methods())
    assert {row["name"] for row in rows if row["trained length"]} == {"logn", "ntk_dynamic", "streaming"}


@pytest.mark.parametrize(
    ("parent", "hook"), [("PI", "values"), ("PI", "qk"), ("DualChunk", "output"), ("DualChunk", "bias")]
)
def test_a_hook_that_no_reading_would_call_is_refused(parent, hook, tmp_path, own_methods):
    """It would read as its parent does, and a board would show two names for one method."""
    file = tmp_path / "mine.py"
    file.write_text(
        f"""
from pebench.encodings.extension import {parent}, method


@method("mine_here")
class Mine({parent}):
    title = "mine"

    def {hook}(self, *given):
        return super().{hook}(*given)
"""
    )
    with pytest.raises(EncodingError, match=f"Mine overrides `{hook}`"):
        method_named(f"{file}:Mine")
