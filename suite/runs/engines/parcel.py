"""A run on its way to a node that shares no disk with us: the order and its files go, the record comes back."""

import hashlib
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from pebench.encodings.registry import extension_of, names_a_file
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.results.cache import temporary_folder
from pebench.suite.results.record import AGAIN, Record, RecordError, from_json, write_whole
from pebench.suite.runs.cell import RANKS, Cell
from pebench.suite.runs.engine import Fault
from pebench.suite.runs.engines.local import HERE, Limits, Local
from pebench.suite.runs.existing import existing
from pebench.suite.runs.machine import memory

FOLDERS = "pebench-run-"  # of runs on a node; whose it is follows
EVERY = 1.0  # seconds between two words on how far a run is
POLL = 0.05  # seconds
LOG = 2**16  # bytes of a log that travel


class Sent(NamedTuple):
    """An encoding as it travels: its spec without folders, and the file that it names, if any."""

    spec: str
    file: str = ""
    text: bytes = b""

    @staticmethod
    def of(spec: str) -> "Sent":
        """The encoding of this spec. A file that is gone does not travel: each node then says so."""
        trained, method = extension_of(spec)
        if not names_a_file(trained):
            return Sent(spec)
        path, _, wanted = (
            trained.partition(".py:") if ".py:" in trained else (trained.removesuffix(".py"), "", "")
        )
        file = Path(f"{path}.py").expanduser()
        rest = (f":{wanted}" if wanted else "") + (f"@{method}" if method else "")
        return Sent(rest, file.name, file.read_bytes())

    def here(self) -> str:
        """The spec on this machine; its file lies in a folder of its own text, so that it is loaded once."""
        if not self.file:
            return self.spec
        path = temporary_folder() / "sent" / hashlib.sha256(self.text).hexdigest()[:16] / self.file
        if not path.exists() or path.read_bytes() != self.text:
            write_whole(path, self.text)
        return f"{path}{self.spec}"


class Parcel(NamedTuple):
    """A run as it travels."""

    encoding: Sent
    task: str
    profile: str
    seed: int
    corpus: Path | None
    fingerprint: str
    files: dict[str, bytes]  # that it needs, by their place in a records folder
    save: bool
    device: str
    timeout: float  # seconds
    at_once: int  # runs that share the node's memory
    sharing: Sharing | None = None

    @property
    def cell(self) -> Cell:
        """The run on this machine. OSError where its file cannot be written."""
        return Cell(self.encoding.here(), self.task, self.profile, self.seed, self.corpus)


Answer = float | Fault | dict[str, bytes]  # how far it is; why the node cannot make it; its files


def make(parcel: Parcel) -> Iterator[Answer]:
    """On a node: make the run in a folder of its own, and say how far it is until the last answer."""
    forget_dead()
    try:
        with tempfile.TemporaryDirectory(prefix=f"{own_folders()}{psutil.Process().pid}-") as place:
            yield from made(parcel, Path(place))
    except OSError as e:
        yield Fault(f"cannot write: {e}")


def made(parcel: Parcel, folder: Path) -> Iterator[Answer]:
    cell = parcel.cell
    if cell.fingerprint() != parcel.fingerprint:
        yield Fault("other code, text or plan than the sweep's")
        return
    for name, data in parcel.files.items():
        write_whole(folder / name, data)
    limits = Limits(parcel.timeout, int(0.9 * memory()) // parcel.at_once)
    here = Local(folder, 1, parcel.device, limits, lambda line: None, parcel.sharing)
    job = here.start(cell, HERE, parcel.save)
    said = time.monotonic()
    try:
        while (end := job.poll()) is None:
            time.sleep(POLL)
            if time.monotonic() - said > EVERY:
                said = time.monotonic()
                yield job.done
    finally:
        if job.process.poll() is None:
            job.kill()
    if isinstance(end, Fault):
        yield end
        return
    paths = (path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): path
        for path in paths
        if not any(part.suffix == RANKS for part in path.parents)  # a state whose shards do not travel
    }
    kept = {
        name: path.read_bytes()
        for name, path in files.items()
        if path.suffix in (".json", ".safetensors", ".csv")
    }
    log = {cell.place.with_suffix(".log").as_posix(): job.log.read_bytes()[-LOG:]}
    yield {**log, **{name: data for name, data in kept.items() if parcel.files.get(name) != data}}


def forget_dead() -> None:
    """Remove the folders of processes that were killed on this machine."""
    own = own_folders()
    for folder in Path(tempfile.gettempdir()).glob(f"{own}*"):
        pid = folder.name.removeprefix(own).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def own_folders() -> str:
    """How the folders of this machine begin: containers that share a disk have other processes by the same ids."""
    space = Path("/proc/self/ns/pid")
    number = space.stat().st_ino if space.exists() else 0
    return f"{FOLDERS}{hashlib.sha256(f'{platform.node()} {number}'.encode()).hexdigest()[:8]}-"


def deliver(cell: Cell, files: dict[str, bytes], sent: dict[str, bytes], folder: Path) -> Record:
    """Write the files of a run whole, and return its record; the run's lock is held.

    A measured record that is there already stays, and so does a model. RecordError where no record of this run came.
    """
    name = cell.path.as_posix()
    if name not in files:
        raise RecordError(f"no record of {cell.title} came back")
    record = from_json(files[name].decode())
    if record.path != cell.path:
        raise RecordError(f"the record that came back for {cell.title} is of another run: {record.path}")
    before = existing(cell, folder)
    if before is not None and before.outcome not in AGAIN:
        return before
    for place, data in files.items():
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise RecordError(f"a file that came back for {cell.title} has the place {place}")
        if place != name and (place in sent or place.endswith(".log") or not (folder / place).exists()):
            write_whole(folder / place, data)
    write_whole(folder / name, files[name])  # last: the record says that all is there
    return record
