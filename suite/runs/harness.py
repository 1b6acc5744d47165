"""lm-eval and our checkpoints: a model class for any of its tasks, and `pebench harness`.

`lm_eval --model pebench --model_args checkpoint=FILE` finds the model through plugin.py; importing this module
registers it for `lm_eval.simple_evaluate(model="pebench", model_args={"checkpoint": "...", "max_length": 512})`.
Our own tasks are in the folder `pebench.tasks.lm_eval.books.YAML`.
"""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager

from pebench.encodings.registry import UnknownName
from pebench.suite.experiment.measure import function
from pebench.suite.lm.generate import Sampling, generate
from pebench.suite.lm.model import LM, LengthError
from pebench.suite.runs import checkpoint as checkpoints
from pebench.suite.runs.checkpoint import CheckpointError
from pebench.tasks.base import Condition, Score
from pebench.tasks.data.corpus import CorpusError
from pebench.tasks.language import BEGIN
from pebench.tasks.lm_eval.books import YAML
from pebench.tasks.lm_eval.reader import PREFIX, Reader, choice_scores, quiet

FORCED_CHOICE = (
    *("arc_easy", "arc_challenge", "hellaswag", "openbookqa", "piqa", "winogrande", "sciq"),
    "passages",
)
ANSWER = 256  # bytes that a task may generate where it does not say


# Arguments of other models' `generate` that change nothing at these values.
NEUTRAL = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
}
NO_CHAT = "models of pebench were trained on books, not on chats: run without --apply_chat_template"
YES, NO = ("true", "yes", "1"), ("false", "no", "0", "none", "")


class ArgumentError(ValueError):
    """An argument of lm-eval's that our models cannot take, with what to do."""


class Options(NamedTuple):
    """How an answer is generated: at most n bytes, until one of the stops."""

    n: int
    stops: list[bytes]
    how: Sampling

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Options":
        """The arguments of a request, by the names and rules of lm-eval's own models. ArgumentError."""
        known = {name: value for name, value in given.items() if value is not None}
        if "do_sample" in known:
            known["do_sample"] = truth("do_sample", known["do_sample"])
        try:
            asked: dict[str, Any] = dict(normalize_gen_kwargs(known, ANSWER))
            n, temperature = int(asked.pop("max_gen_toks")), float(asked.pop("temperature", 1.0))
            top_k, top_p = int(asked.pop("top_k", 0)), float(asked.pop("top_p", 1.0))
            for name in NEUTRAL.keys() & asked.keys():
                if float(asked[name]) == NEUTRAL[name]:
                    del asked[name]
        except (TypeError, ValueError, OverflowError) as e:
            raise ArgumentError(f"a generation argument is no number: {e}; given were {given}") from e
        if n < 1 or top_k < 0 or not (0 <= temperature < math.inf and 0 < top_p <= 1):
            raise ArgumentError(
                "a generation argument is out of range (max_gen_toks from 1, temperature from 0, top_k from 0, "
                f"top_p above 0 and up to 1); given were {given}"
            )
        stops = [str(stop).encode() for part in asked.pop("until") for stop in flat(part) if stop]
        sampled = asked.pop("do_sample")
        if asked:
            raise ArgumentError(
                f"models of pebench do not generate by {', '.join(map(repr, sorted(asked)))}; they take max_gen_toks, "
                "until, do_sample, temperature, top_k and top_p"
            )
        return cls(n, stops, Sampling(temperature if sampled else 0.0, top_k or None, top_p))


def flat(stop: Any) -> list[Any]:
    """The strings of a stop, which may be a list or tuple of them."""
    return list(stop) if isinstance(stop, list | tuple) else [stop]


def truth(name: str, value: Any) -> bool:
    """What a switch says, which a command line may give as text. ArgumentError where it says neither."""
    if isinstance(value, bool):
        return value
    if (said := str(value).strip().lower()) in (*YES, *NO):
        return said in YES
    raise ArgumentError(f"{name} is {value!r}; give true or false")


def whole(name: str, value: Any) -> int:
    """A whole number, which a command line may give as text. ArgumentError where it is none."""
    try:
        return int(str(value))
    except ValueError:
        raise ArgumentError(f"{name} is {value!r}; give a whole number") from None


class ByteLM(Reader):
    """A standard LM over bytes as lm-eval sees models; it reads as many as in training, if not told otherwise."""

    def __init__(self, lm: LM, begins: bool, max_length: int | None = None, seed: int = 0):
        limit = lm.encoding.max_length
        length = max_length or lm.encoding.shape.train_length
        if lm.size.vocab != 256:
            raise CheckpointError(
                "this model reads the symbols of its task, not bytes; take one of a text task"
            )
        if length < 2:
            raise LengthError(f"a maximum of {length} bytes leaves nothing to read; give at least 2")
        if limit is not None and length > limit:
            raise LengthError(f"a maximum of {length} bytes, but this encoding is defined up to {limit}")
        super().__init__(function(lm, next(lm.parameters()).device), begins, length)
        self.lm = lm
        self.seed = seed

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The answers. Each is drawn by a generator of its own: the other questions and their order change none.

        A question that is asked again gets another draw.
        """
        times: Counter[str] = Counter()
        answers = []
        for request in requests:
            context, options = request.args
            question = json.dumps([self.seed, context, options], sort_keys=True, default=repr)
            name = f"{times[question]} {question}"
            times[question] += 1
            answers.append(self.continued(context, Options.of(options), generator(name)))
        return answers

    def continued(self, context: str, options: Options, rng: torch.Generator) -> str:
        """The text that is generated behind a context, until a stop or the number of bytes."""
        n = min(options.n, self.max_length // 2)  # half is the context's
        text = self.tok_encode(context)
        head = [BEGIN] if self.begins or not text else []
        room = self.max_length - n - len(head) + 1  # the last byte is not read
        self.cut += len(text) > room
        said = bytearray()
        for byte in generate(self.lm, head + text[-room:], n, options.how, rng):
            said.append(byte)
            places = [place for stop in options.stops if (place := said.find(stop)) >= 0]
            if places:
                return said[: min(places)].decode(errors="replace")
        return said.decode(errors="replace")

    @property
    def tokenizer_name(self) -> str:
        raise ArgumentError(NO_CHAT)

    def chat_template(self, chat_template: bool | str = False) -> str:
        raise ArgumentError(NO_CHAT)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        raise ArgumentError(NO_CHAT)


def generator(name: str) -> torch.Generator:
    """Random numbers that belong to this name."""
    seed = int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:7], "big")
    return torch.Generator().manual_seed(seed)


def place(device: str | None) -> str:
    """The device to compute on. lm-eval's command line asks for CUDA where the user has named none."""
    return device if device and (torch.cuda.is_available() or not device.startswith("cuda")) else "cpu"


@register_model("pebench")
class CheckpointLM(ByteLM):
    """A checkpoint of pebench; the arguments come from `--model_args`.

    CheckpointError, LengthError and ArgumentError say why it cannot be measured.
    """

    def __init__(
        self,
        checkpoint: str | Path = "",
        encoding: str | None = None,
        max_length: int | None = None,
        device: str | None = "cpu",
        stale: bool | str = False,
        batch_size: int | str | None = None,  # lm-eval's; here memory bounds a batch
        max_batch_size: int | None = None,
        seed: int = 0,
        dtype: Any = "float32",
        trust_remote_code: bool = False,  # lm-eval's; a checkpoint has no code
        **others: Any,
    ):
        if others:
            raise ArgumentError(
                f"a checkpoint of pebench has no {', '.join(map(repr, sorted(others)))}; model arguments are "
                "checkpoint, encoding, max_length, device, stale and seed"
            )
        if not checkpoint:
            raise ArgumentError("name the checkpoint: --model_args checkpoint=FILE.safetensors")
        if str(dtype).removeprefix("torch.") not in ("float32", "auto", "None"):
            raise ArgumentError(
                f"a checkpoint of pebench computes in float32, not in {dtype}: leave dtype out"
            )
        path = Path(os.path.expanduser(checkpoint))
        length = None if max_length is None else whole("max_length", max_length)
        lm = checkpoints.load(path, encoding, truth("stale", stale)).to(place(device))
        begins = checkpoints.config(path).begins
        super().__init__(lm, begins, length, whole("seed", seed))


class Measured(NamedTuple):
    """One task: how many of its questions were asked, how many inputs were cut, and the scores."""

    task: str
    questions: int
    cut: int
    scores: list[Score]


def measure(
    lm: ByteLM, names: list[str], limit: int | None = None, online: bool = False
) -> Iterator[Measured]:
    """Measure tasks through lm-eval, one after another, on their first `limit` questions (None: all).

    Offline the names are ours, and the questions come out of the cache: UnknownName, or CorpusError where
    they are not prepared. `online` the names are lm-eval's own, with its loaders: CorpusError where it
    cannot have them.
    """
    with quiet():
        manager = TaskManager(include_path=None if online else YAML, include_defaults=online)
        known = manager.all_tasks if online else [n.removeprefix(PREFIX) for n in manager.all_subtasks]
        for name in names:
            if name not in known:
                raise UnknownName("harness task", name, known)
        # All of them first: a task whose data are missing must not cost what others took hours to measure.
        found = [each for name in names for each in loaded(manager, name, online).items()]
        for title, task in found:
            cut = lm.cut
            results = evaluate(lm, {"tasks": {title: task}}, limit=limit, bootstrap_iters=0)
            asked = results["n-samples"][title]["effective"]
            yield Measured(
                title.removeprefix(PREFIX), asked, lm.cut - cut, scores(title, task, results, asked)
            )


def loaded(manager: TaskManager, name: str, online: bool) -> dict[str, Task]:
    """The tasks of this name: one, or in lm-eval's groups several."""
    if not online:
        return manager.load([PREFIX + name])["tasks"]
    try:
        return manager.load([name])["tasks"]
    except Exception as e:  # the loaders of the hub, of data sets and of tasks raise what they like
        raise CorpusError(
            f"lm-eval cannot load {name!r}: {type(e).__name__}: {e}. It needs the network and the Hugging Face "
            f"hub; without --online, {', '.join(FORCED_CHOICE)} are asked from local data "
            "(`pebench data prepare --harness`)"
        ) from e


def scores(title: str, task: Task, results: dict[str, Any], asked: int) -> list[Score]:
    """The scores of one task: of a forced choice with the level of chance, else what lm-eval reports."""
    condition: Condition = {"task": title.removeprefix(PREFIX)}
    if task.OUTPUT_TYPE == "multiple_choice":
        return choice_scores(task, results["samples"][title], condition)
    return [
        Score(metric.partition(",")[0], float(value), asked, condition)
        for metric, value in results["results"][title].items()
        if "," in metric and isinstance(value, int | float) and "_stderr," not in metric
    ]


def above_chance(score: Score) -> bool:
    """Whether an accuracy is above its chance level: one-sided, at 5 %, by the normal approximation."""
    assert score.floor is not None
    return score.value - score.floor > 1.645 * math.sqrt(score.floor * (1 - score.floor) / score.n)
