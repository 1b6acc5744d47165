"""The meaning of code: its definitions as syntax trees, each with the definitions that it uses.

Two sources of one meaning have one hash. Seen through: comments, docstrings, formatting, the order of imports and
of definitions, import aliases, and `import x` against `from x import y`. So are the file and folder of a
definition, unused definitions, the wording of errors, and the Python version. An annotation counts by the classes
that it names.

Everything else counts: names of definitions, variables and attributes, the order of statements in a definition, every
constant, default and operator. Not followed: names in strings, what `getattr` finds, code that runs by `exec`.
"""

import ast
import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SILENT = ("ctx", "kind", "type_comment")  # fields of a syntax tree that compute nothing


class Place(NamedTuple):
    """Where a definition stands: a module and the name that the module gives it."""

    module: str
    name: str


@dataclass
class Module:
    """The top level of a module."""

    defined: dict[str, list[ast.stmt]] = field(default_factory=dict)  # the statements that make each name
    imported: dict[str, str] = field(default_factory=dict)  # the dotted name behind each alias
    stars: list[str] = field(default_factory=list)  # the modules of `from x import *`
    effects: list[ast.stmt] = field(default_factory=list)  # statements that concern no definition

    @classmethod
    def parse(cls, name: str, text: str) -> "Module":
        """The module of this name and source. SyntaxError where the source is none."""
        module = cls()
        for statement in ast.parse(text).body:
            if not _says_nothing(statement):
                module.add(statement, name)
        lists = {name: module.filled_by(name) for name in module.defined}
        touched = [(s, _names(s)) for s in module.effects]  # `Mine.slope = 0.9`, or a loop that does it
        for made in module.defined.values():
            touched += [(s, lists[name]) for s in made for name in _decorators(s) & lists.keys()]
        for statement, names in touched:  # is a part of what it touches
            for each in names & module.defined.keys():
                if statement not in module.defined[each]:
                    module.defined[each].append(statement)
        module.effects = [s for s in module.effects if not _names(s) & module.defined.keys()]
        return module

    def filled_by(self, name: str) -> set[str]:
        """The module's variables that a function names: as a decorator it may list there what it decorates."""
        made = self.defined[name]
        if not all(isinstance(statement, ast.FunctionDef) for statement in made):
            return set()
        named = set[str]().union(*map(_names, made)) & self.defined.keys()
        return {each for each in named if not any(isinstance(s, DEFINITION) for s in self.defined[each])}

    def add(self, statement: ast.stmt, name: str) -> None:
        """Take in one statement of the top level."""
        aliases = imports(statement, name)
        self.imported |= {alias: dotted for alias, dotted in aliases if alias != "*"}
        self.stars += [dotted for alias, dotted in aliases if alias == "*"]
        made = bound([statement])
        for each in made:
            self.defined.setdefault(each, []).append(statement)
        plain = (*DEFINITION, ast.Assign, ast.AnnAssign, ast.AugAssign)
        if not (
            (made and isinstance(statement, plain)) or isinstance(statement, ast.Import | ast.ImportFrom)
        ):
            self.effects.append(statement)


def _says_nothing(statement: ast.stmt) -> bool:
    """Whether importing a module does nothing here: a docstring, `if __name__ == "__main__"`, `if TYPE_CHECKING`."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return True
    test = ast.unparse(statement.test) if isinstance(statement, ast.If) else ""
    return test.startswith("__name__ ==") or test.rpartition(".")[2] == "TYPE_CHECKING"


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _decorators(statement: ast.stmt) -> set[str]:
    """The plain names of a definition's decorators."""
    if not isinstance(statement, DEFINITION):
        return set()
    called = [d.func if isinstance(d, ast.Call) else d for d in statement.decorator_list]
    return {d.id for d in called if isinstance(d, ast.Name)}


def imports(tree: ast.AST, module: str) -> list[tuple[str, str]]:
    """Every import within a tree of this module: the alias and the dotted name behind it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for a in node.names:
                found.append((a.asname, a.name) if a.asname else (a.name.partition(".")[0],) * 2)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for a in node.names:
                found.append((a.asname or a.name, source if a.name == "*" else f"{source}.{a.name}"))
    return found


def bound(scope: Iterable[ast.AST]) -> set[str]:
    """The names that these parts of one scope give a value, imports apart."""
    names, todo, elsewhere = set[str](), list(scope), set[str]()
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, (ast.Lambda, *COMPREHENSION)):
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            names |= {node.name} if node.name else set()
        elif isinstance(node, ast.MatchMapping):
            names |= {node.rest} if node.rest else set()
        elif isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere |= set(node.names)
        todo += ast.iter_child_nodes(node)
    return names - elsewhere


@dataclass
class Code:
    """Modules by name, as far as `read` gives their source.

    `read` maps a module's name to its source, or to None where the module is not followed; names from there count
    as names.
    """

    read: Callable[[str], str | None]
    modules: dict[str, Module | None] = field(default_factory=dict)
    said: dict[Place, tuple[str, list[Place]]] = field(default_factory=dict)

    def module(self, name: str) -> Module | None:
        """The module of this name; None where it is not followed."""
        if name not in self.modules:
            text = self.read(name)
            self.modules[name] = None if text is None else _parsed(name, text)
        return self.modules[name]

    def find(self, module: str, name: str) -> Place | str | None:
        """What a module's name stands for: a definition, the dotted name of something not followed, or nothing."""
        inside = self.module(module)
        if inside is None:
            return None
        if name in inside.defined:
            return Place(module, name)
        if name in inside.imported:
            dotted = inside.imported[name]  # its own name where it imports a part of itself
            return dotted if dotted == f"{module}.{name}" else self.behind(dotted)
        for star in inside.stars:
            if found := self.find(star, name):
                return found
        return None

    def behind(self, dotted: str) -> Place | str:
        """What a dotted name stands for; itself where it is a module or is not followed."""
        module, _, name = dotted.rpartition(".")
        return (self.find(module, name) if module else None) or dotted

    def all_of(self, module: str) -> set[Place]:
        """Every definition of a module."""
        inside = self.module(module)
        return {Place(module, name) for name in inside.defined} if inside else set()

    def hash(self, roots: Iterable[Place]) -> str:
        """SHA-256 of what these definitions mean, with all that they use."""
        reached, todo = dict[Place, tuple[str, list[Place]]](), list(roots)
        first = set(todo)
        while todo:
            place = todo.pop()
            if place not in reached:
                reached[place] = self.say(place)
                todo += reached[place][1]
        # A definition's label grows by the labels of what it uses until no two that differ have the same: so two
        # definitions of one name in two modules are told apart without the modules' names.
        labels = {place: digest(text, str(place in first)) for place, (text, _) in reached.items()}
        kinds = 0
        while kinds < (kinds := len(set(labels.values()))):
            labels = {p: digest(labels[p], *(labels[used] for used in reached[p][1])) for p in reached}
        modules = {place.module for place in reached}
        effects = [self.say(Place(module, ""))[0] for module in modules]
        return digest(*sorted(labels.values()), *sorted(filter(None, effects)))

    def say(self, place: Place) -> tuple[str, list[Place]]:
        """A definition in canonical words, and the definitions that it uses; of no name, its module's effects."""
        if place not in self.said:
            module = self.module(place.module)
            assert module is not None
            statements = module.defined[place.name] if place.name else module.effects
            words = Words(self, place.module)
            for statement in statements:
                words.aliases |= dict(imports(statement, place.module))
            self.said[place] = ("\n".join(words.say(s, frozenset()) for s in statements), words.used)
        return self.said[place]


_parsed = functools.cache(Module.parse)  # a module is parsed once for all tasks, and is never written to


@dataclass
class Words:
    """Turns the syntax tree of one definition into canonical words."""

    code: Code
    module: str
    aliases: dict[str, str] = field(default_factory=dict)  # of imports inside the definition
    used: list[Place] = field(default_factory=list)

    def say(self, node: object, own: frozenset[str]) -> str:
        """The words of a part of the tree; `own` are the names that mean a variable there."""
        match node:
            case list():
                return f"[{','.join(filter(None, (self.say(part, own) for part in node)))}]"
            case ast.Import() | ast.ImportFrom() | ast.Pass():
                return ""
            case ast.Name() | ast.Attribute():
                return self.name(node, own)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                return self.function(node, own)
            case ast.ClassDef():
                return self.class_(node, own)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return self.plain(node, own | bound(node.generators))
            case ast.AnnAssign():
                self.say(node.annotation, own)  # for the classes that it names
                return self.say(ast.Assign([node.target], node.value), own) if node.value else ""
            case ast.Assert():
                return self.plain(ast.Assert(node.test), own)
            case ast.Raise():
                return self.plain(_unworded(node), own)
            case ast.AST():
                return self.plain(node, own)
        return ascii(node)

    def plain(self, node: ast.AST, own: frozenset[str]) -> str:
        """A node by its kind and its fields; empty ones and those that compute nothing are left out."""
        fields = [(f, value) for f, value in ast.iter_fields(node) if f not in SILENT and value is not None]
        said = [f"{f}={self.say(value, own)}" for f, value in fields if value != []]
        return f"{type(node).__name__}({','.join(said)})"

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, own: frozenset[str]) -> str:
        """A function: its defaults and decorators are looked up outside, its body inside."""
        a = node.args
        defaults = self.say([*a.defaults, *(d or ast.Constant(None) for d in a.kw_defaults)], own)
        kinds = [a.posonlyargs, a.args, *([x] if x else [] for x in (a.vararg, a.kwarg)), a.kwonlyargs]
        heads = ascii([[arg.arg for arg in kind] for kind in kinds])
        if isinstance(node, ast.Lambda):
            body = self.say(node.body, own | bound([a, node.body]))
            return f"Lambda({heads},{defaults},{body})"
        inside = own | bound([a, *node.body])
        decorators = self.decorators(node.decorator_list, own)
        typed = [arg.annotation for kind in kinds for arg in kind] + [node.returns]
        self.say([annotation for annotation in typed if annotation], own)  # for the classes that they name
        body = self.say(_undescribed(node.body), inside)
        return f"{type(node).__name__}({node.name},{decorators},{heads},{defaults},{body})"

    def class_(self, node: ast.ClassDef, own: frozenset[str]) -> str:
        """A class: names of its body mean its attributes there, but not inside its methods."""
        inside = own | bound(node.body)
        said = [
            self.field(part, inside)
            if isinstance(part, ast.AnnAssign)
            else self.say(part, own if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) else inside)
            for part in _undescribed(node.body)
        ]
        outside = [self.say(part, own) for part in (node.bases, node.keywords)]
        decorators = self.decorators(node.decorator_list, own)
        return f"Class({node.name},{decorators},{','.join(outside)},[{','.join(filter(None, said))}])"

    def field(self, node: ast.AnnAssign, own: frozenset[str]) -> str:
        """A field of a class, where annotations make dataclasses."""
        value = self.say(node.value, own) if node.value else ""
        return f"Field({self.say(node.target, own)},{self.say(node.annotation, own)},{value})"

    def decorators(self, nodes: list[ast.expr], own: frozenset[str]) -> str:
        """Decorators, without `register`, which lists an encoding and computes nothing."""
        return self.say([node for node in nodes if not self.lists(node)], own)

    def lists(self, node: ast.expr) -> bool:
        """Whether this decorator is `register("name")`."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            return False
        name, _, rest = ast.unparse(node.func).partition(".")
        meant = self.meant(name)
        return isinstance(meant, str) and f"{meant}.{rest}".strip(".").endswith("encodings.registry.register")

    def name(self, node: ast.Name | ast.Attribute, own: frozenset[str]) -> str:
        """A variable, or what a global name stands for, with the attributes behind it."""
        parts, base = list[str](), node
        while isinstance(base, ast.Attribute):
            parts.insert(0, base.attr)
            base = base.value  # type: ignore[assignment]
        if not isinstance(base, ast.Name):
            return self.plain(node, own)
        found = None if base.id in own else self.meant(base.id)
        if found is None:
            return ".".join([base.id, *parts])
        while parts and isinstance(found, str):
            found = self.code.behind(f"{found}.{parts.pop(0)}")
        if isinstance(found, Place):
            self.used.append(found)
            found = found.name
        elif found.startswith("pebench."):  # where it stands does not count
            found = found.rpartition(".")[2]
        return ".".join([f"<{found}>", *parts])

    def meant(self, name: str) -> Place | str | None:
        if name in self.aliases:
            return self.code.behind(self.aliases[name])
        return self.code.find(self.module, name)


def _undescribed(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements without bare constants, such as docstrings."""
    return [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]


class _Unworded(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.JoinedStr(
            [self.visit(part) for part in node.values if isinstance(part, ast.FormattedValue)]
        )


def _unworded(node: ast.Raise) -> ast.Raise:
    """A copy of `raise X("words", value)` without the words."""
    copied = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(copied, ast.Raise)
    return _Unworded().visit(copied)


def digest(*parts: str) -> str:
    """SHA-256 of some texts in their order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
