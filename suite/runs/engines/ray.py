"""Runs on a Ray cluster: one task a run, and the driver chooses its node. Nodes need not share a disk with us."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pebench.suite.experiment.clock import clock
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.results.record import RecordError
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.engine import Ended, Fault, Lost, Node, SweepError
from pebench.suite.runs.engines.parcel import Answer, Parcel, Sent, deliver, make
from pebench.suite.runs.preflight import expected, kind_of, state

PATIENCE = (
    180.0  # seconds that a sweep waits for nodes that are slow to state their facts, and for a node at all
)
SLOWEST = 3600.0  # seconds after which a node that has stated nothing has a fault; hashing a large text takes minutes
ATTEMPTS = 3  # that a node gets to state its facts
LOOK = 1.0  # seconds between two looks at the cluster

Asked = list[tuple[Sent, str, str, Path | None, str]]  # encoding, task, profile, corpus, fingerprint


def connect(address: str | None) -> Any:
    """Ray's module, connected to a cluster. SweepError with the remedy where there is no Ray, or no cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else a node's death prints its whole state
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise SweepError("Ray is not installed; install it with `pip install 'pebench[ray]'`") from None
    try:
        # Ray puts the driver's working directory before all else that its workers import from.
        with quiet(), contextlib.chdir(os.path.dirname(os.__file__)):
            ray.init(address=address or "auto", log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as e:
        where = f"at {address}" if address else "here"
        said = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise SweepError(
            f"no Ray cluster {where} ({said}); start one with `ray start --head`, or name one with --address"
        ) from e
    return ray


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what C code prints off standard error: Ray tells there that it was told to be silent."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def stated(asked: Asked, device: str) -> dict[str, Any]:
    """On a node: its facts and faults."""
    cells = [(Cell(e.here(), task, profile, 0, corpus), sha) for e, task, profile, corpus, sha in asked]
    return state(cells, device)


@dataclass
class Remote:
    """A run on a node of a Ray cluster."""

    cell: Cell
    node: str
    engine: "Ray"
    answers: Any  # Ray's stream of references to answers
    sent: dict[str, bytes]
    done: float = 0.0
    started: float = field(default_factory=clock)

    def seconds(self) -> float:
        """How long ago it was started."""
        return clock() - self.started

    def poll(self) -> Ended | Fault | Lost | None:
        """How it ended; None while it runs."""
        ray = self.engine.ray
        while ray.wait([self.answers], timeout=0)[0]:
            try:
                answer: Answer = ray.get(next(self.answers))
            except StopIteration:
                return Lost("it ended without an answer", alone=True)
            except ray.exceptions.RayTaskError as e:  # its code does not fit ours
                return Fault(said(e.cause or e))
            except ray.exceptions.RayError as e:
                return Lost(f"{self.node}: {said(e)}", alone=self.engine.doubt(self.node))
            if isinstance(answer, Fault):
                return answer
            if isinstance(answer, dict):
                try:
                    return Ended(deliver(self.cell, answer, self.sent, self.engine.folder))
                except RecordError as e:
                    return Fault(str(e))
            self.done = answer
        return None

    def kill(self) -> None:
        """Cancel it; its worker ends with the task's process."""
        with contextlib.suppress(Exception):  # a cluster that is gone has no run of ours
            self.engine.ray.cancel(self.answers, force=True)


def said(e: BaseException) -> str:
    """An error's kind and its first line."""
    lines = str(e).strip().splitlines()
    return f"{type(e).__name__}: {lines[0]}" if lines else type(e).__name__


@dataclass
class Ray:
    """A Ray cluster."""

    cells: list[Cell]
    folder: Path
    timeout: float  # seconds of a run
    device: str = "cpu"
    address: str | None = None
    gpus: float = 1.0  # of a run on a GPU: a share, or several
    mixed: bool = False  # nodes of different precision or torch in one sweep
    jobs: int | None = None  # runs at a time on one node, at most
    sharing: Sharing | None = None  # of each training among ranks, all on one node
    ray: Any = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # of each node that has stated them
    unanswered: Counter[str] = field(
        default_factory=Counter
    )  # by node: processes that died while they were asked
    asked: dict[str, tuple[Any, float]] = field(default_factory=dict)  # nodes that are asked, and since when
    known: list[Node] = field(default_factory=list)
    looked: float = -LOOK
    seen: float = field(default_factory=time.monotonic)  # when there was a node last
    kind: tuple[str, str] | None = None  # precision and torch of this sweep

    def nodes(self) -> list[Node]:
        """The nodes that have stated their facts. The first call waits until all have, or one has and time is up."""
        if self.ray is None:
            self.ray = connect(self.address)
            question = [
                (Sent.of(c.encoding), c.task, c.profile, c.corpus, sha) for c, sha in expected(self.cells)
            ]
            self.question = self.ray.put(question)
            self.look()
            while not any(node.slots for node in self.known) or not self.asked_enough():
                time.sleep(0.05)
                self.look()
        elif time.monotonic() - self.looked >= LOOK:
            self.look()
        return self.known

    def states(self) -> dict[str, dict[str, Any]]:
        """The facts and faults of each node by its name, for a table."""
        try:
            nodes = {node: self.names[node.name] for node in self.nodes()}
            return {
                node.name: {**self.facts[name], "faults": [node.fault] if node.fault else []}
                for node, name in nodes.items()
                if name in self.facts
            }
        finally:
            self.close()

    def look(self) -> None:
        """See which nodes there are, ask new ones, and take in what they state."""
        self.looked = time.monotonic()
        alive = dict(self.alive())
        for node in list(self.asked):
            self.take_in(node, node in alive)
        for node in alive:
            if node not in self.facts and node not in self.asked:
                self.asked[node] = (self.ask(node), time.monotonic())
        if self.kind is None and self.asked_enough():
            self.choose_kind(alive)
        self.names = {name: node for node, (name, _) in alive.items()}
        # A node that is being asked, for the first time or anew, gets no run yet, and keeps a sweep from ending.
        self.known = [
            Node(name, slots, self.fault(node)) if node in self.facts else Node(name, 0)
            for node, (name, slots) in alive.items()
            if node in self.facts or node in self.asked
        ]
        if self.facts.keys() & alive:
            self.seen = time.monotonic()
        elif not self.asked and time.monotonic() - self.seen > PATIENCE:
            raise SweepError(f"the Ray cluster has had no node with a free {self.unit} for {PATIENCE:.0f} s")

    @property
    def unit(self) -> str:
        """The resource that a run takes."""
        return "GPU" if self.device.startswith("cuda") else "processor"

    @property
    def ranks(self) -> int:
        """The processors of a run."""
        return self.sharing.ranks if self.sharing else 1

    @property
    def each(self) -> float:
        """The GPUs of a run: one for each rank, or the share that was asked for."""
        return float(self.ranks) if self.sharing else self.gpus

    def alive(self) -> Iterator[tuple[str, tuple[str, int]]]:
        """Ray's id of each node that can hold a run, with its name and how many it holds."""
        for node in self.ray.nodes():
            resources = node["Resources"]
            slots = int(resources.get("CPU", 0)) // self.ranks
            if self.unit == "GPU":
                slots = min(slots, int(resources.get("GPU", 0) / self.each + 1e-9))
            slots = min(slots, self.jobs or slots)
            if node["Alive"] and slots:
                yield node["NodeID"], (f"{node['NodeManagerHostname']}/{node['NodeID'][:8]}", slots)

    def options(self, node: str, processors: int) -> dict[str, Any]:
        """Where a task runs and what it takes: on this node alone, and once."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        gpus = {"num_gpus": self.each} if self.unit == "GPU" else {}
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        return {"num_cpus": processors, "max_retries": 0, "scheduling_strategy": here, **gpus}

    def ask(self, node: str) -> Any:
        """Ask a node for its facts."""
        return self.ray.remote(**self.options(node, 0))(stated).remote(self.question, self.device)

    def take_in(self, node: str, alive: bool) -> None:
        """Take in a node's facts, where it has stated them; a node that cannot has a fault."""
        question, since = self.asked[node]
        if not alive:
            del self.asked[node]
        elif self.ray.wait([question], timeout=0)[0]:
            del self.asked[node]
            try:
                self.facts[node] = self.ray.get(question)
            except self.ray.exceptions.RayTaskError as e:
                self.facts[node] = {"faults": [said(e.cause or e)]}
            except self.ray.exceptions.RayError as e:  # it died: if its node lives, that is asked again
                self.unanswered[node] += 1
                if self.unanswered[node] >= ATTEMPTS:
                    self.facts[node] = {"faults": [f"its process was lost {ATTEMPTS} times: {said(e)}"]}
        elif time.monotonic() - since > SLOWEST:
            del self.asked[node]
            self.facts[node] = {"faults": [f"did not state its facts in {SLOWEST:.0f} s"]}

    def asked_enough(self) -> bool:
        """Whether no node is being asked, or all those are slow: they may join later."""
        now = time.monotonic()
        return all(now - since > PATIENCE for _, since in self.asked.values())

    def choose_kind(self, alive: dict[str, tuple[str, int]]) -> None:
        """The class of the sweep: the one with most room."""
        room = Counter[tuple[str, str]]()
        for node, facts in self.facts.items():
            if node in alive and not facts["faults"]:
                room[kind_of(facts)] += alive[node][1]
        self.kind = max(room, key=room.__getitem__, default=None)

    def fault(self, node: str) -> str:
        """Why a node gets no run; empty where it gets some."""
        facts = self.facts[node]
        if facts["faults"]:
            return "; ".join(facts["faults"])
        if self.mixed or self.kind is None or kind_of(facts) == self.kind:
            return ""
        ours, its = (" with torch ".join(kind) for kind in (self.kind, kind_of(facts)))
        return f"computes in {its}, this sweep in {ours}; --mixed uses both"

    def doubt(self, node: str) -> bool:
        """Whether a node lives that has lost a run; it gets no more until it has stated its facts anew."""
        name = self.names.get(node, "")
        self.facts.pop(name, None)
        self.look()
        return node in self.names

    def start(self, cell: Cell, node: str, save: bool) -> Remote:
        """Send a run to a node."""
        base = cell.base
        files = {}
        if base is not None:
            with contextlib.suppress(FileNotFoundError):
                files[base.checkpoint.as_posix()] = (self.folder / base.checkpoint).read_bytes()
        slots = next(n.slots for n in self.known if n.name == node)
        parcel = Parcel(
            Sent.of(cell.encoding), cell.task, cell.profile, cell.seed, cell.corpus, cell.fingerprint(),
            files, save, self.device, self.timeout, slots, self.sharing,
        )  # fmt: skip
        task = self.ray.remote(**self.options(self.names[node], self.ranks), num_returns="streaming")(make)
        return Remote(cell, node, self, task.remote(parcel), files)

    def close(self) -> None:
        """Leave the cluster, which ends the tasks of ours that still run."""
        if self.ray is not None:
            self.ray.shutdown()
