"""The search of longrope2_searched on a tiny model: no worse than its start, continued, refused elsewhere."""

import dataclasses
import json
import signal
import subprocess
import sys

import pytest
import torch
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from pebench.encodings.extension import extended
from pebench.suite.cli import app
from pebench.suite.extend import search as searching
from pebench.suite.extend import searched
from pebench.suite.extend.checkpoint import ModelError, load_checkpoint
from pebench.suite.extend.measure import Session
from pebench.suite.extend.model import Model
from pebench.suite.extend.profiles import EXTEND, EXTEND_QUICK, LOSS, TRACKS, Track
from pebench.suite.extend.run import runs
from pebench.suite.extend.search import Budget, Candidate, Search, criticals, fixed, flat, mutated, search
from pebench.suite.extend.searched import NAME, Subject, find, place, read
from pebench.suite.results.processes import environment
from pebench.suite.results.record import read_all
from tests.extend import tiny
from tests.in_process import exit_code

TINY = Track("EXTEND_TINY", "tests", ("none", NAME), 1, (1, 2), (1, 2))
SMALL = Budget(parents=2, children=3, generations=4)


def quiet(line):
    """Tell nobody."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    for n in range(40):  # two of them are the validation books
        (folder / f"{n}.txt").write_text(tiny.book(n))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("tiny")
    tiny.write(place, max_position_embeddings=512, rope_theta=300.0, head_dim=16)
    return place


@pytest.fixture(scope="module")
def kept(model, corpus, tmp_path_factory):
    """A cache folder with a result."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEBENCH_CACHE", str(folder))
        search(load_checkpoint(model), 2.0, corpus, quiet, SMALL)
    return folder


@pytest.fixture
def found(kept, monkeypatch):
    """The result, where the code looks for it."""
    monkeypatch.setenv("PEBENCH_CACHE", str(kept))
    (file,) = (kept / searched.FOLDER).glob("*.json")
    return read(file)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A cache folder without results."""
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def track(monkeypatch):
    monkeypatch.setitem(TRACKS, TINY.name, TINY)
    return TINY


def test_the_result_is_at_least_as_good_as_the_fixed_method(empty, model, corpus, monkeypatch):
    """In float32: the fixed method computes its frequencies in another order, which bfloat16 would round apart."""
    monkeypatch.setattr("pebench.suite.extend.model.fastest", lambda: torch.float32)
    checkpoint = load_checkpoint(model)
    search(checkpoint, 2.0, corpus, quiet, SMALL)
    (file,) = (empty / searched.FOLDER).glob("*.json")
    found = read(file)
    texts = searching.texts(checkpoint, 2.0, corpus, SMALL, 0)
    assert len(texts) == 2

    def objective(encoding):
        reads = Model(checkpoint, encoding)
        return sum(searching.loss(reads, text) for text in texts) / 2

    mine = searched.with_divisors(checkpoint, 2.0, found.divisors)
    assert objective(extended(mine.rope(), NAME, 2.0)) == found.after
    assert objective(extended(checkpoint.rope(), "longrope2", 2.0)) == pytest.approx(found.before, abs=1e-6)
    assert found.after < found.before
    whole = [losses for losses in found.about["losses"].values() if len(losses) == 2]
    assert found.after == min(sum(losses) / 2 for losses in whole)
    assert len(whole) < found.evaluations == len(found.about["losses"])  # some were not read to the end


def test_a_result_says_how_it_was_made(found):
    assert list(found.divisors) == sorted(found.divisors)
    assert all(2 <= x <= 4 for x in found.divisors[found.critical :])
    base = found.divisors[found.critical] ** (1 / found.critical)
    assert found.divisors[: found.critical] == pytest.approx([base**n for n in range(found.critical)])
    about = found.about
    assert about["split"] == "valid"
    assert about["length"] == 1024
    assert about["readings"] == sum(map(len, about["losses"].values()))
    assert about["budget"] == dataclasses.asdict(SMALL)
    assert {"commit", "no_commit"} & set(about)
    assert {"seed", "code", "precision", "cpu", "torch", "threads", "model", "corpus"} <= set(about)


def test_a_finished_search_is_one_for_any_number_of_threads(found, model, corpus, monkeypatch):
    def made(told=None):
        return Search(load_checkpoint(model), 2.0, corpus, SMALL, 0, quiet if told is None else told.append)

    told, folder = list[str](), made().folder
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert made(told).run() == found
    assert told == ["this search is done already"]
    assert made().folder != folder  # readings of another number of threads are no readings of this search


def test_the_code_of_a_search_is_of_its_method_too(monkeypatch):
    roots = set[str]()

    class Code:
        def hash(self, places):
            roots.update(place.name for place in places)
            return ""

    monkeypatch.setattr(searching, "code_of", lambda outside, uncounted: Code())
    searching.code()
    assert roots == {"Search", "LongRoPE2Searched"}


def test_the_needles_are_asked_for_at_the_end(model, corpus):
    checkpoint = load_checkpoint(model)
    one, other = searching.texts(checkpoint, 2.0, corpus, Budget(), 0)
    assert not torch.equal(one.tokens, other.tokens)
    text = checkpoint.tokenizer.decode(one.tokens.tolist())
    answers = checkpoint.tokenizer.decode(one.tokens[one.answers].tolist()).split()
    assert len(one.tokens) == 1024
    assert len(set(answers)) == 8
    places = sorted(text.index(f"is: {answer}.") for answer in answers)
    assert text.startswith(" One of the special magic numbers for")
    assert all(text.count(answer) == 2 for answer in answers)
    assert [text.rindex(answer) for answer in answers] == sorted(text.rindex(answer) for answer in answers)
    assert text.endswith(answers[-1])
    assert places[-1] < text.index("What is the special")


def test_no_test_book_is_read(model, corpus, monkeypatch):
    splits = list[str]()
    books = searching.byte_tensor
    monkeypatch.setattr(
        searching, "byte_tensor", lambda split, path: splits.append(split) or books(split, path)
    )
    searching.texts(load_checkpoint(model), 2.0, corpus, Budget(), 0)
    assert splits == ["valid"]


def test_candidates_are_those_of_the_paper():
    smollm2 = 100_000.0 ** (-torch.arange(32) / 32)
    assert criticals(smollm2, 8192) == range(14, 21)
    assert fixed(smollm2, 2.0, 8192) == flat(16, 32, 2.0)
    phi3 = 10_000.0 ** (-torch.arange(48) / 48)
    assert criticals(phi3, 2048).stop - 1 == 31
    llama3 = 500_000.0 ** (-torch.arange(64) / 64)
    assert criticals(llama3, 8192).stop - 1 == 35


@pytest.mark.parametrize("factor", [2.0, 4 / 3])
def test_a_mutation_keeps_the_constraints(factor):
    start, seen = flat(5, 12, factor), set()
    for seed in range(100):
        rng, parent = torch.Generator().manual_seed(seed), start
        for _ in range(3):
            child = mutated(parent, factor, range(3, 9), rng)
            assert child != parent
            assert 3 <= child.critical <= 8
            assert abs(child.critical - parent.critical) <= 1
            assert len(child.divisors) == 12
            assert list(child.divisors) == sorted(child.divisors)
            assert all(factor <= x <= 2 * factor for x in child.beyond)
            seen.add(child)
            parent = child
    assert len(seen) > 250
    assert {each.critical for each in seen} == set(range(3, 9))
    assert {each.beyond[0] > factor for each in seen} == {True, False}


def test_a_worse_candidate_is_not_read_to_the_end(model, corpus, empty, monkeypatch):
    made = Search(load_checkpoint(model), 2.0, corpus, SMALL, 0, quiet)
    made.folder.mkdir(parents=True)
    first, second, worse, better, mixed = (
        Candidate(1, (2.0 + n,) * (len(made.planes) - 1)) for n in range(5)
    )
    told = iter([1.0, 2.0, 1.0, 2.0, 3.0, 1.5, 1.8, 0.5, 9.0])
    monkeypatch.setattr(searching, "loss", lambda model, text: next(told))
    best = made.survivors([], [first, second])
    assert best == [first, second]
    best = made.survivors(best, [worse, better])
    assert best == [first, better]
    assert made.losses[worse.key] == {0: 3.0}
    assert made.losses[better.key] == {0: 1.5, 1: 1.8}
    assert made.survivors(best, [mixed]) == [first, better]  # a parent stays, though worse on the first text
    assert next(told, None) is None


KILLED = """
import sys, time
from pebench.suite import cli
from pebench.suite.extend import search
small = search.Budget(parents=2, children=3, generations=4)
search.Budget = lambda: small
loss, read = search.loss, []
def slow(model, text):
    if len(read) == 3:
        print("waiting", flush=True)
        time.sleep(60)
    read.append(text)
    return loss(model, text)
search.loss = slow
sys.argv = ["pebench", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_was_ended_goes_on_to_the_same_result(end, found, model, corpus, empty, monkeypatch):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, "extend", "--search", "--model", str(model), "--corpus", str(corpus)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout.readline().strip() == "waiting"

    def wait(seconds):
        """The other process still holds a reading: end it."""
        assert len(read) == 2  # what it left in the same batch
        process.send_signal(end)
        process.wait(timeout=60)

    loss, read, told = searching.loss, list[object](), list[str]()
    monkeypatch.setattr(searching, "loss", lambda model, text: read.append(text) or loss(model, text))
    monkeypatch.setattr(searching, "sleep", wait)
    again = search(load_checkpoint(model), 2.0, corpus, told.append, SMALL)
    assert told[0] == "3 readings are done already"
    assert "waiting for the readings of another process" in told
    said = process.communicate()[1]
    if end == signal.SIGINT:
        assert process.returncode == 130
        assert "continues behind the last finished reading" in said
    assert len(read) == again.about["own_readings"] == found.about["readings"] - 3
    assert again.about["losses"] == found.about["losses"]
    assert dataclasses.replace(again, about={}) == dataclasses.replace(found, about={})
    left = {file.name for file in empty.rglob("*") if file.is_file()}
    assert left == {place(found.subject).name, "readings.jsonl"}


def test_a_second_search_reads_nothing(found, model, corpus, monkeypatch):
    monkeypatch.setattr(searching, "loss", None)
    assert search(load_checkpoint(model), 2.0, corpus, quiet, SMALL) == found
    with pytest.raises(TypeError, match="not callable"):  # another seed is another search
        search(load_checkpoint(model), 2.0, corpus, quiet, SMALL, seed=1)


def test_half_a_line_is_no_reading(found, kept, model, corpus, empty, monkeypatch):
    made = Search(load_checkpoint(model), 2.0, corpus, SMALL, 0, quiet)
    made.folder.mkdir(parents=True)
    (whole,) = kept.rglob("readings.jsonl")
    made.kept.write_bytes(whole.read_bytes().rstrip()[:-9])
    read = list[object]()
    loss = searching.loss
    monkeypatch.setattr(searching, "loss", lambda model, text: read.append(text) or loss(model, text))
    assert dataclasses.replace(made.run(), about={}) == dataclasses.replace(found, about={})
    assert len(read) == 1


@pytest.mark.parametrize("changed", [{"model": "0"}, {"factor": 4.0}, {"corpus": "0"}])
def test_a_result_serves_its_model_factor_and_corpus_alone(changed, found, monkeypatch):
    assert find(found.subject, "EXTEND") == found
    other = dataclasses.replace(found.subject, **changed)
    with pytest.raises(ModelError, match="pebench extend --search --profile EXTEND"):
        find(other, "EXTEND")
    with monkeypatch.context() as patch:  # in the other's place, it is refused still
        patch.setattr(searched, "place", lambda subject: place(found.subject))
        with pytest.raises(ModelError, match="pebench extend --search --profile EXTEND"):
            find(other, "EXTEND")


def test_a_published_result_is_used(found, tmp_path, monkeypatch):
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(searched, "PUBLISHED", tmp_path)
    with pytest.raises(ModelError):
        find(found.subject, "EXTEND")
    found.write(tmp_path / "longrope2_tiny.json")
    assert find(found.subject, "EXTEND") == found


def test_published_results_can_be_read():
    files = list(searched.PUBLISHED.glob("longrope2_*.json"))
    if not files:
        pytest.skip("no search is published")
    for file in files:
        assert read(file).subject.factor in (EXTEND.farthest, EXTEND_QUICK.farthest)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-9],
        lambda text: text.replace('"divisors"', '"divisor"', 1),
        lambda text: json.dumps({**json.loads(text), "divisors": [1.0, 4.0, 2.0]}),
        lambda text: json.dumps({**json.loads(text), "critical": 0}),
    ],
)
def test_a_damaged_result_is_named(spoil, found, empty):
    found.write(place(found.subject))
    place(found.subject).write_text(spoil(place(found.subject).read_text()))
    with pytest.raises(ModelError, match=f"{found.subject.name}.json is no result"):
        find(found.subject, "EXTEND")


def options(model, corpus, records):
    return ["--profile", TINY.name, "--model", str(model), "--corpus", str(corpus), "--records", str(records)]


def test_a_run_without_a_search_fails_early(model, corpus, empty, track, tmp_path, monkeypatch, capsys):
    words = ["extend", *options(model, corpus, tmp_path), "-t", LOSS, "--jobs", "1"]
    assert exit_code(monkeypatch, *words, "-m", f"none,{NAME}") == 3
    assert f"pebench extend --search --profile {TINY.name}" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_a_profile_leaves_a_method_without_its_search_out_and_says_so(model, corpus, empty, track, tmp_path):
    words = ["extend", *options(model, corpus, tmp_path), "-t", LOSS, "--jobs", "1"]
    reason = f"{NAME} needs a search on this model for the factor 2"
    status = CliRunner().invoke(app, [*words, "--status"])
    assert status.exit_code == 0, status.output
    assert status.stdout.startswith(f"{NAME} (all runs): {reason}")
    assert f"`pebench extend --search --profile {TINY.name}`" in status.stdout
    made = CliRunner().invoke(app, words)
    assert made.exit_code == 0, made.output
    assert f"{NAME} is left out: {reason}" in made.stderr
    assert "all other runs are done" in made.stdout
    assert {r.encoding for r in read_all(tmp_path)[0]} == {"rope"}
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert list(told["left_out"]) == [NAME]
    assert [row["method"] for row in told["runs"]] == ["none"]


def test_records_count_the_divisors_that_were_used(found, model, corpus, track, tmp_path):
    checkpoint = load_checkpoint(model)
    session = Session(runs(checkpoint, track, [NAME], [LOSS], corpus)[0].checkpoint, NAME, track, corpus)
    used = session.reading(1024).model.encoding.inner.frequencies
    torch.testing.assert_close(checkpoint.rope().spectrum() / used, torch.tensor(found.divisors))
    result = CliRunner().invoke(
        app, ["extend", *options(model, corpus, tmp_path), "-m", f"none,{NAME}", "-t", LOSS, "--jobs", "1"]
    )
    assert result.exit_code == 0, result.output
    none, mine = sorted(read_all(tmp_path)[0], key=lambda r: r.encoding)
    assert "searched" not in none.card
    assert tuple(mine.card["searched"]["divisors"]) == found.divisors
    before = {run.method: run.fingerprint for run in runs(checkpoint, track, ["none", NAME], [LOSS], corpus)}
    assert before == {"none": none.fingerprint, NAME: mine.fingerprint}
    last = dataclasses.replace(found, divisors=(*found.divisors[:-1], found.divisors[-1] + 0.1))
    again = runs(checkpoint, track, ["none", NAME], [LOSS], corpus)
    other = [dataclasses.replace(run, found=run.found and last) for run in again]
    after = {run.method: run.fingerprint for run in other}
    assert after["none"] == before["none"]
    assert after[NAME] != before[NAME]


def test_the_forward_pass_is_that_of_transformers(tmp_path):
    checkpoint, _ = tiny.made(tmp_path)
    divisors = (1.0, 1.25, 2.5, 3.75)
    about = {
        "rope_type": "longrope",
        "rope_theta": 1000.0,
        "factor": 2.0,
        "original_max_position_embeddings": 64,
    }
    theirs = LlamaForCausalLM.from_pretrained(
        tmp_path, rope_parameters={**about, "short_factor": [1.0] * 4, "long_factor": list(divisors)}
    ).eval()
    text = tiny.tokens(100)
    with torch.no_grad():
        expected = theirs(text[None]).logits[0]
    mine = searched.with_divisors(checkpoint, 2.0, divisors)
    reads = Model(checkpoint, extended(mine.rope(), NAME, 2.0), torch.float32)
    ours = reads.logits(reads.read(text, reads.cache()))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("factor", "needles", "says"),
    [
        (1.0, 8, "nothing to search"),
        (1000.0, 8, "no book of the validation split"),
        (1.25, 16, "hidden numbers take"),
    ],
)
def test_what_cannot_be_searched_says_why(factor, needles, says, model, corpus, empty):
    with pytest.raises(ModelError, match=says):
        search(load_checkpoint(model), factor, corpus, quiet, Budget(needles=needles))


def test_the_command_says_what_was_found(model, corpus, empty, track, monkeypatch):
    monkeypatch.setattr(searching, "Budget", lambda: Budget(1, 4, 1, 1, 1))
    words = ["extend", "--search", *options(model, corpus, empty)]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "reading 1 of at most" in said.stderr
    subject = Subject(load_checkpoint(model).sha256, 2, searching.identity(corpus)["sha256"])
    assert f"kept in {place(subject)}" in said.stdout
    again = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert tuple(again["divisors"]) == read(place(subject)).divisors
    assert "leave --methods" in CliRunner().invoke(app, [*words, "-m", "pi"]).output
