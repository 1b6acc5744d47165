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
from pebench.suite.cli import app
from pebench.suite.extend.certificate import certify_method
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


@pytest.mark.parametrize(
    ("cls", "claim", "check"),
    [
        (Late, Claims(within=True), "reads the trained length unchanged"),
        (Infinite, Claims(), "is finite at position 1,000,000"),
        (Guessing, Claims(), "decodes through the cache as it reads"),
        (Peeking, Claims(), "hides the future"),
    ],
)
def test_a_wrong_method_fails_its_check(cls, claim, check, monkeypatch):
    monkeypatch.setitem(METHODS, "wrong", cls)
    monkeypatch.setitem(CLAIMS, "wrong", claim)
    assert check in [each.name for each in certify_method("wrong") if not each.passed]


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
