"""Trained models as files: weights in safetensors, and in its metadata what they are, as JSON.

Loading runs no code of the file: there is no pickle, and an encoding is found by its name. An encoding in a file
of its own is loaded only if the user names that file.
"""

import json
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from pebench.encodings.base import Encoding
from pebench.encodings.registry import EncodingError, UnknownName, resolve
from pebench.suite.lm.model import LM, Size
from pebench.suite.results.record import write_whole
from pebench.suite.results.setup import Corpus
from pebench.suite.runs.fingerprint import forward_code
from pebench.tasks import TASKS
from pebench.tasks.language import Language
from pebench.tasks.needle_text import NeedleText

FORMAT = 1
KEY = "pebench"  # of the metadata
Shapes = dict[str, tuple[int, ...]]
LONGEST = 2**20  # training length that a checkpoint may state


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or loaded, with what to do."""


@dataclass(frozen=True)
class Config:
    """What a checkpoint holds, and the run that it comes from."""

    encoding: str  # its name
    spec: str  # what it was trained as: its name, or `file.py:Class` without the folders of that machine
    size: Size
    train_length: int
    seed: int
    task: str
    profile: str
    fingerprint: str  # of the run
    corpus: Corpus  # name and sha256 of the text; empty where the task reads none
    code: str  # sha256 of the code that turns these weights into logits
    pebench: str
    format: int = FORMAT

    @property
    def reads_bytes(self) -> bool:
        return self.size.vocab == 256

    @property
    def begins(self) -> bool:
        """Whether it was trained with `language.BEGIN` in front of each text."""
        return issubclass(TASKS.get(self.task, object), Language | NeedleText)


def describe(
    lm: LM, spec: str, task: str, profile: str, seed: int, fingerprint: str, corpus: Corpus
) -> Config:
    """The config of a model that was trained in this run; `spec` is a registered name or `file.py:Class`."""
    name, cls = resolve(spec)
    return Config(
        encoding=name,
        spec=Path(spec).name,
        size=lm.size,
        train_length=lm.encoding.shape.train_length,
        seed=seed,
        task=task,
        profile=profile,
        fingerprint=fingerprint,
        corpus=corpus,
        code=forward_code(cls),
        pebench=version("pebench"),
    )


def save(lm: LM, config: Config, path: Path) -> None:
    """Write a checkpoint whole or not at all. OSError where the folder cannot be written."""
    tensors = {name: x.detach().cpu().contiguous().clone() for name, x in lm.state_dict().items()}
    write_whole(path, to_bytes(tensors, {KEY: json.dumps(asdict(config), sort_keys=True)}))


def config(path: Path) -> Config:
    """What a checkpoint says of itself. CheckpointError where it is none."""
    with opened(path) as file:
        return parsed(path, file.metadata())


def load(path: Path, encoding: str | None = None, stale: bool = False) -> LM:
    """The model of a checkpoint, ready to be asked, on the CPU.

    `encoding` names the encoding where the checkpoint's cannot be found by name: `file.py:Class`. With `stale`
    a model loads although the code of its encoding, or of the standard LM, has changed since it was trained.
    CheckpointError says why it cannot be loaded.
    """
    with opened(path) as file:
        about = parsed(path, file.metadata())
        cls = found(path, about, encoding)
        if not stale and forward_code(cls) != about.code:
            raise CheckpointError(
                f"{path} was trained with other code of {about.encoding!r} or of the standard LM (pebench "
                f"{about.pebench!r}): it would compute something else now. Train it again, or load it with --stale"
            )
        shapes: Shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        bounded(path, about.size, shapes)
        try:
            lm = LM(about.size, cls, about.train_length, about.seed)
        except (RuntimeError, MemoryError, ValueError) as e:
            raise CheckpointError(f"{path} describes a model that cannot be built: {e}") from e
        expected: Shapes = {name: tuple(x.shape) for name, x in lm.state_dict().items()}
        compare(path, expected, shapes)
        tensors = {name: file.get_tensor(name) for name in expected}
    for name, x in lm.state_dict().items():
        if tensors[name].dtype != x.dtype:
            raise CheckpointError(f"{path}: {name} is of type {tensors[name].dtype}, not {x.dtype}")
    for name, _ in lm.named_parameters():
        if not tensors[name].isfinite().all():
            raise CheckpointError(f"{path}: {name} has values that are not finite")
    lm.load_state_dict(tensors)
    return lm.eval()


def opened(path: Path) -> Any:
    """The open file, a context manager; its header is checked by safetensors."""
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint {path}; `pebench run -t language` saves one, and `--save` saves one for each task"
        )
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as e:
        raise CheckpointError(f"{path} is no safetensors file, or is damaged: {e}") from e


def parsed(path: Path, metadata: dict[str, str] | None) -> Config:
    """The config in the metadata of a file, checked."""
    if KEY not in (metadata or {}):
        raise CheckpointError(f"{path} is a safetensors file, but no checkpoint of pebench")
    assert metadata is not None
    try:
        data = json.loads(metadata[KEY])
        about = Config(**{**data, "size": Size(**data["size"])})
    except (TypeError, KeyError, ValueError, RecursionError) as e:
        raise CheckpointError(f"{path} has a config of another format, or a damaged one: {e}") from e
    if about.format != FORMAT:
        raise CheckpointError(
            f"{path} has format {about.format!r}, and this pebench reads {FORMAT}; use another pebench"
        )
    numbers = {**asdict(about.size), "train_length": about.train_length}
    kinds: dict[str, type] = {"size": Size, "corpus": dict, "train_length": int, "seed": int, "format": int}
    wrong = [f.name for f in fields(Config) if type(getattr(about, f.name)) is not kinds.get(f.name, str)]
    wrong += [name for name, n in numbers.items() if type(n) is not int or not 1 <= n <= LONGEST]
    if not wrong and (about.size.width % about.size.heads or not 0 <= about.seed < 2**63):
        wrong = ["width" if about.size.width % about.size.heads else "seed"]
    if wrong:
        raise CheckpointError(f"{path} has a damaged config: {', '.join(wrong)} cannot be what it says")
    return about


def found(path: Path, about: Config, encoding: str | None) -> type[Encoding]:
    """The class of the checkpoint's encoding."""
    if not encoding and ".py" in about.spec:
        raise CheckpointError(
            f"the encoding of {path} is in a file of its own, {about.spec!r}, and a checkpoint starts no code: "
            "name that file with --encoding FILE.py:Class"
        )
    try:
        name, cls = resolve(encoding or about.spec)
    except (UnknownName, EncodingError) as e:
        raise CheckpointError(
            f"the encoding of {path} cannot be loaded: {e}. Install the package that has it, or name its file "
            "with --encoding FILE.py:Class"
        ) from e
    if name != about.encoding:
        raise CheckpointError(f"{path} was trained with {about.encoding!r}, not with {name!r}")
    return cls


def bounded(path: Path, size: Size, shapes: Shapes) -> None:
    """Refuse a config whose model is far larger than the file, before anything is allocated for it."""
    blocks = range(min(size.layers, len(shapes) + 1))  # one more than can be there is seen to be missing
    expected: Shapes = {f"blocks.{n}.mlp.down.weight": (size.width, size.hidden) for n in blocks}
    expected["embedding.weight"] = (size.vocab, size.width)
    compare(path, expected, {name: shape for name, shape in shapes.items() if name in expected})


def compare(path: Path, expected: Shapes, shapes: Shapes) -> None:
    """CheckpointError that names the first tensor which is missing, unknown or of another shape."""
    for name in [*expected, *(name for name in shapes if name not in expected)]:
        if expected.get(name) != shapes.get(name):
            raise CheckpointError(
                f"{path} does not fit the model that it describes: {name!r} has shape {shapes.get(name)}, "
                f"expected {expected.get(name)} (None: there is no such tensor)"
            )
