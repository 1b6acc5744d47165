"""The track from the command to the board, on a tiny model: resumed, shared, interrupted, compared."""

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pebench.leaderboard import extension
from pebench.leaderboard.board import make_board
from pebench.leaderboard.reading import BoardError, elsewhere
from pebench.suite.cli import app
from pebench.suite.extend import items as asked
from pebench.suite.extend import measure, smollm2
from pebench.suite.extend import model as reading
from pebench.suite.extend import run as running
from pebench.suite.extend.checkpoint import ModelError, content, load_checkpoint
from pebench.suite.extend.measure import Session
from pebench.suite.extend.profiles import COST, EXTEND, LOSS, RETRIEVAL, TASKS, TRACKS, Track
from pebench.suite.extend.run import demand_room, loaded, place, runs, shortened
from pebench.suite.results.metrics import EXTENDING
from pebench.suite.results.processes import environment
from pebench.suite.results.record import RUNNING, read_all, write
from pebench.suite.submissions.reproduce import ReproduceError, reproduce
from pebench.tasks.data.wheels import sha256
from tests.extend import tiny
from tests.in_process import exit_code

TINY = Track("EXTEND_TINY", "tests", ("none", "pi"), 2, (1, 1.5, 2), (0.5, 1, 1.5, 2))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    for n in range(40):  # two of them are held out
        (folder / f"{n}.txt").write_text(tiny.book(n))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tiny")
    tiny.write(place, max_position_embeddings=1024)
    return place


@pytest.fixture
def track(monkeypatch):
    monkeypatch.setitem(TRACKS, TINY.name, TINY)
    return TINY


def words(folder, corpus, records):
    """The command, as far as all its calls have it: another process would not know its profile."""
    options = {
        "--profile": TINY.name,
        "--model": folder,
        "--corpus": corpus,
        "--records": records,
        "--jobs": 1,
    }
    return ["extend", *(str(word) for pair in options.items() for word in pair)]


def extend(folder, corpus, records, *rest):
    return CliRunner().invoke(app, [*words(folder, corpus, records), *rest])


@pytest.fixture(scope="module")
def records(folder, corpus, tmp_path_factory):
    """All runs of the tiny profile."""
    place = tmp_path_factory.mktemp("records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TRACKS, TINY.name, TINY)
        result = extend(folder, corpus, place)
    assert result.exit_code == 0, result.output
    return place


def test_the_tasks_are_those_that_the_general_board_leaves_out():
    assert tuple(TASKS) == (LOSS, RETRIEVAL, COST) == EXTENDING
    assert len(EXTEND.methods) >= 12


def test_the_board_knows_the_texts_and_methods_of_each_profile():
    assert {t.name: (t.texts, t.methods) for t in TRACKS.values()} == extension.PLANS


def test_each_method_and_text_has_a_record(records, track):
    found, unreadable = read_all(records)
    assert not unreadable
    assert sorted((r.encoding, r.task, r.seed) for r in found) == sorted(
        (name, task, text) for name in ("rope", "rope@pi") for task, text in track.cells()
    )
    for r in found:
        assert r.setup["model"]["kv_heads"] == 2
        assert r.setup["train_length"] == 1024
        assert r.provenance["precision"] in ("bfloat16", "float32")
        assert r.setup["factor"] == 2
    kinds = {
        (row.condition["kind"], row.condition["length"])
        for r in found
        if r.task == RETRIEVAL
        for row in r.rows
    }
    assert kinds == {
        (k, n) for k in ("single", "multi_key", "multi_query", "multi_value") for n in (1024, 1536, 2048)
    }


def test_losses_are_those_of_the_whole_text(records, folder, corpus, track):
    checkpoint = load_checkpoint(folder)
    window = asked.windows(checkpoint, 2048, corpus)[1]
    session = Session(checkpoint, "none", track, corpus)
    states = session.base.read(window, session.base.cache())
    losses = torch.nn.functional.cross_entropy(session.base.logits(states[:-1]), window[1:], reduction="none")
    record = next(r for r in read_all(records)[0] if (r.encoding, r.task, r.seed) == ("rope", LOSS, 1))
    for row in record.rows:
        start, end = row.condition["start"], row.condition["length"]
        expected = losses[max(0, start - 1) : end - 1]
        assert row.n == len(expected)
        assert row.value == pytest.approx(expected.mean().item(), abs=1e-4)
    assert [row.condition["length"] for row in record.rows] == [512, 1024, 1536, 2048]


def test_a_second_call_runs_nothing(records, folder, corpus, track):
    before = {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}
    result = extend(folder, corpus, records)
    assert "10 runs, 10 of them done" in result.output
    assert {path: path.stat().st_mtime_ns for path in records.rglob("*.json")} == before


def test_records_of_another_precision_are_told_apart(records, folder, corpus, track, monkeypatch):
    other = torch.float32 if reading.fastest() == torch.bfloat16 else torch.bfloat16
    monkeypatch.setattr(running, "fastest", lambda: other)
    result = extend(folder, corpus, records, "--status")
    assert "10 runs, 0 of them done" in result.output
    assert "10 of the others have records whose code, model, text or precision differs" in result.output


def test_the_same_run_gives_the_same_rows(records, folder, corpus, track, tmp_path):
    extend(folder, corpus, tmp_path, "-m", "pi", "-t", "extend_loss,extend_retrieval")
    again = {(r.task, r.seed): (r.rows, r.answers) for r in read_all(tmp_path)[0]}
    assert len(again) == 4
    for r in read_all(records)[0]:
        if r.encoding == "rope@pi" and r.task != COST:
            assert again[r.task, r.seed] == (r.rows, r.answers)


def test_methods_are_paired_by_text_and_question(records):
    track = extension.make_tracks([records], TINY.name)[0][0]
    texts = track.answers.groupby("method")[["text", "length", "kind"]].apply(
        lambda frame: frame.values.tolist()
    )
    assert texts["none"] == texts["pi"]
    pi = next(line for line in track.lines if line.method == "pi")
    none = next(line for line in track.lines if line.method == "none")
    for phase in ("at_length", "beyond"):
        assert pi.loss[phase].difference == pytest.approx(pi.loss[phase].value - none.loss[phase].value)
        assert pi.loss[phase].difference_low < pi.loss[phase].difference < pi.loss[phase].difference_high
        assert none.loss[phase].difference is None
    assert pi.loss["at_length"].n == 2 * 1023
    assert pi.retrieval["beyond"].n == 2 * 2 * 22
    assert 0.2 < pi.costs["prefill_ratio"] < 5


@pytest.mark.parametrize("option", ["--json", "--csv", "--markdown", None])
def test_the_board_is_printed_in_every_form(option, records):
    result = CliRunner().invoke(
        app, ["board", "--profile", TINY.name, "--records", str(records), *([option] if option else [])]
    )
    assert result.exit_code == 0, result.output
    if option == "--json":
        data = json.loads(result.stdout)
        (model,) = data["models"]
        assert {line["method"] for line in model["methods"]} == {"none", "pi"}
        assert model["train_length"] == 1024
        assert len(model["losses"]) == 2 * 4
        assert {row["metric"] for row in model["retrieval"]} == {"exact", "found", "margin"}
    else:
        assert "none" in result.output
        assert "pi" in result.output


def test_the_general_board_leaves_these_records_out_and_names_the_command_that_shows_them(records):
    with pytest.raises(BoardError, match=f"no records of encodings.*`pebench board --profile {TINY.name}`"):
        make_board(records)
    assert elsewhere([records], "rope@pi") == []
    with pytest.raises(BoardError, match="pebench extend"):
        extension.make_tracks([records], "EXTEND_ELSE")


def test_one_text_has_no_interval(records):
    first = [r for r in read_all(records)[0] if r.seed == 0]
    track = extension.track(TINY.name, "tiny", "0", first)
    assert all(q.low is None and q.difference_low is None for line in track.lines for q in line.loss.values())
    assert any("One text" in note for note in track.notes)


def test_a_method_that_lacks_a_text_of_one_quantity_is_measured_in_part(records):
    every = read_all(records)[0]
    assert not any("in part" in note for note in extension.track(TINY.name, "tiny", "0", every).notes)
    fewer = [r for r in every if (r.encoding, r.task, r.seed) != ("rope@pi", "extend_retrieval", 1)]
    track = extension.track(TINY.name, "tiny", "0", fewer)
    assert "Measured in part: pi." in track.notes
    shown = {line.method: extension.cells(line)[-1] for line in track.lines}
    assert shown == {"none": "2, 2", "pi": "2, 1"}


def with_setup(record, part, **changed):
    """The record with other facts of its model or corpus."""
    return replace(record, setup={**record.setup, part: {**record.setup[part], **changed}})


def test_texts_of_two_corpora_are_no_pairs(records):
    every = read_all(records)[0]
    others = [
        with_setup(r, "corpus", name="books-v1", sha256="f" * 64) for r in every if r.encoding == "rope@pi"
    ]
    own, other = extension.tracks_of([*(r for r in every if r.encoding == "rope"), *others], TINY.name)
    assert [[line.method for line in each.lines] for each in (own, other)] == [["none"], ["pi"]]
    assert all(q.difference is None for q in other.lines[0].loss.values())
    assert f"on user:{every[0].setup['corpus']['name'][5:]} " in extension.heading(own)
    assert "on books-v1, trained" in extension.heading(other)
    (alone,) = extension.tracks_of(every, TINY.name)
    assert " on user:" not in extension.heading(alone)


def test_a_model_under_two_names_has_one_board(records):
    every = read_all(records)[0]
    later = [
        replace(with_setup(r, "model", name="renamed"), provenance={**r.provenance, "started": "2999-01-01"})
        for r in every
        if r.encoding == "rope@pi"
    ]
    (track,) = extension.tracks_of([*later, *(r for r in every if r.encoding == "rope")], TINY.name)
    assert track.model == "renamed"
    assert {line.method for line in track.lines} == {"none", "pi"}


def test_two_versions_of_a_method_are_told(records):
    every = read_all(records)[0]
    assert not any("different versions" in note for note in extension.tracks_of(every, TINY.name)[0].notes)
    mixed = [replace(r, encoding_code="0" * 64) if r.encoding == "rope@pi" and r.seed else r for r in every]
    told = "Records of more than one version of a method: pi; run the older ones again."
    assert [told in extension.tracks_of(part, TINY.name)[0].notes for part in (mixed, every)] == [True, False]


def test_what_is_hidden_is_where_it_should_be(folder, corpus):
    checkpoint = load_checkpoint(folder)
    window = asked.windows(checkpoint, 2048, corpus)[0]
    found = list(asked.items(checkpoint, window, [512, 2048], 0))
    assert len(found) == 2 * 22
    for item in found:
        text, length = checkpoint.tokenizer.decode(item.text.tolist()), item.condition["length"]
        assert length - asked.ROOM < len(item.text) <= length
        told = [asked.said(key, n) for n in item.answers for key in asked.KEYS]
        told += [asked.stated(thing, n) for n in item.answers for thing in asked.THINGS]
        here = [sentence for sentence in told if sentence in text]
        assert len(here) == len(item.answers)
        subjects = {
            re.sub(r"\d", "", sentence).split(" is")[0].split("for ")[-1].strip(" The") for sentence in here
        }
        assert all(subject in item.question for subject in subjects)
        if "depth" in item.condition:
            place = text.index(item.answers[0]) / len(text)
            assert abs(place - item.condition["depth"]) < (150 / 2048 if length == 2048 else 0.25)
        assert not set(item.answers) & set(item.wrong)
        assert all(number in text for number in item.wrong)
        assert text.count("magic numbers") == 7
        assert sum(thing in text for thing in asked.THINGS) == len(asked.THINGS)


def test_the_texts_of_a_length_are_one_text(folder, corpus):
    checkpoint = load_checkpoint(folder)
    found = list(asked.items(checkpoint, asked.windows(checkpoint, 2048, corpus)[0], [1024, 2048], 0))
    by_length = [(item.condition["length"], tuple(item.text.tolist())) for item in found]
    assert [length for length, _ in by_length] == [2048] * 22 + [1024] * 22
    assert len(set(by_length)) == 2


def test_answers_are_scored_by_the_numbers_that_are_said(folder, corpus, track, monkeypatch):
    checkpoint = load_checkpoint(folder)
    session = Session(checkpoint, "none", track, corpus)
    every = enumerate(asked.items(checkpoint, session.window(0), [1024], 0))
    number, several = next((n, i) for n, i in every if i.condition["kind"] == "multi_query")
    for said, exact, found in (
        (" and ".join(several.answers), 1.0, 1.0),
        (several.answers[2], 0.0, 0.25),
        (f"1{several.answers[0]}, {several.answers[1]}2", 0.0, 0.0),
        (f"1, 2, 3, 4: {', '.join(reversed(several.answers))}", 1.0, 1.0),
        (f"11111, 22222, 33333, {', '.join(several.answers)}", 0.0, 0.25),
        ("nothing", 0.0, 0.0),
    ):
        monkeypatch.setattr(measure.Branches, "greedy", lambda *_, said=said: [checkpoint.encode(said)])
        rows, (answer,) = session.answered([(number, several)])
        assert [(row.metric, row.value) for row in rows] == [("exact", exact), ("found", found)]
        assert answer["right"] == (exact == 1)
        assert answer["item"] == number


def test_the_margin_is_over_the_likeliest_wrong_answer(folder, corpus, track, monkeypatch):
    monkeypatch.setattr(reading, "fastest", lambda: torch.float32)
    checkpoint = load_checkpoint(folder)
    session = Session(checkpoint, "pi", track, corpus)
    some = list(enumerate(asked.items(checkpoint, session.window(0), [1024], 0)))[14:22]
    rows = session.answered(some)[0]
    margins = {row.condition["depth"]: row.value for row in rows if row.metric == "margin"}
    assert len(margins) == 6  # two single needles and four keys
    model = session.extended(2.0)
    for _, item in some[:6]:
        chances = []
        for number in (*item.answers, *item.wrong):
            answer = session.tokens(f" {number}")
            text = torch.cat([item.text, session.tokens(item.question), answer])
            states = model.read(text, model.cache())[-len(answer) - 1 : -1]
            chances.append(-float(model.losses(states, answer).sum()))
        assert margins[item.condition["depth"]] == pytest.approx(chances[0] - max(chances[1:]), abs=1e-3)


INTERRUPTED = """
import signal, sys, time
from pebench.suite.extend import measure
from pebench.suite.extend import model as reading
from pebench.suite.extend.profiles import TRACKS, Track
from pebench.suite import cli
TRACKS["EXTEND_TINY"] = Track("EXTEND_TINY", "tests", ("none", "pi"), 2, (1, 1.5, 2), (0.5, 1, 1.5, 2))
step = measure.Session.answered
def slow(self, asked):
    if asked[0][1].condition["length"] == 1024:
        print("waiting", flush=True)
        time.sleep(60)
    return step(self, asked)
measure.Session.answered = slow
sys.argv = ["pebench", *sys.argv[1:]]
cli.main()
"""


ONE = ("-m", "none", "-t", RETRIEVAL)


def stuck(folder, corpus, records):
    """A process of the command that stands still after two lengths."""
    return subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *words(folder, corpus, records), *ONE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def continued(folder, corpus, records, place):
    """The record of the run that stood still after two lengths, continued; `records` has it whole."""
    (kept,) = (place / RUNNING).rglob("*.steps")
    assert len(json.loads(kept.read_text())["steps"]) == 2
    assert extend(folder, corpus, place, *ONE).exit_code == 0
    made = next(r for r in read_all(place)[0] if r.seed == 0)
    whole = next(r for r in read_all(records)[0] if (r.encoding, r.task, r.seed) == ("rope", RETRIEVAL, 0))
    assert made.rows == whole.rows
    assert made.provenance["resumed_steps"] == 2
    assert not list((place / RUNNING).rglob("*.steps"))


def test_an_interrupted_run_is_continued(folder, corpus, records, track, tmp_path):
    process = stuck(folder, corpus, tmp_path)
    assert process.stdout.readline().strip() == "waiting"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in said
    continued(folder, corpus, records, tmp_path)


def test_two_processes_share_the_work_and_a_killed_one_is_continued(folder, corpus, records, track, tmp_path):
    first = stuck(folder, corpus, tmp_path)
    assert first.stdout.readline().strip() == "waiting"
    second = extend(folder, corpus, tmp_path, *ONE)
    first.kill()
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    assert second.exit_code == 0, second.output
    assert "text 0: another process is making it" in second.output
    assert "none extend_retrieval text 1: done" in second.output
    continued(folder, corpus, records, tmp_path)


@pytest.mark.parametrize(
    ("rest", "code", "says"),
    [
        (["-m", "yarnn"], 2, "did you mean 'yarn'"),
        (["-m", "none.py"], 2, "no file"),
        (["-t", "extend_los"], 2, "did you mean 'extend_loss'"),
        (["--profile", "EXTENDED"], 2, "no profile of this track"),
        (["--model", "nowhere"], 3, "no config.json"),
        (["--corpus", "nowhere"], 3, "cannot be read"),
    ],
)
def test_wrong_use_says_what_is_right(rest, code, says, folder, corpus, tmp_path, monkeypatch, capsys):
    options = ["--model", str(folder), "--corpus", str(corpus), "--records", str(tmp_path), *rest]
    assert exit_code(monkeypatch, "extend", *options) == code
    assert says in capsys.readouterr().err


def test_a_short_corpus_says_so(folder, tmp_path):
    (tmp_path / "a.txt").write_text(tiny.book(1, 20_000))
    with pytest.raises(ModelError, match="no book of the test split has 100000 tokens"):
        asked.windows(load_checkpoint(folder), 100_000, tmp_path)


def test_a_method_of_a_file_is_measured(folder, corpus, track, tmp_path, own_methods):
    file = Path(tmp_path, "mine.py")
    file.write_text(
        "from pebench.encodings.extension import Retuned, method\n\n\n"
        '@method("halved_again")\nclass Mine(Retuned):\n    title = "halved"\n    paper = "unpublished"\n'
        '    formula = "x"\n\n    @staticmethod\n    def change(frequencies, factor, length):\n'
        "        return frequencies / 2\n"
    )
    result = extend(folder, corpus, tmp_path / "records", "-m", f"{file}:Mine", "-t", LOSS)
    assert result.exit_code == 0, result.output
    made = read_all(tmp_path / "records")[0]
    assert {r.encoding for r in made} == {"rope@halved_again"}
    threads = f" --threads {torch.get_num_threads()}" if torch.get_num_threads() > 1 else ""
    words = (
        f"--profile EXTEND_TINY -m mine.py:Mine -t extend_loss --model {folder.name} --corpus {corpus.name}"
    )
    assert {r.provenance["command"] for r in made} == {f"pebench extend {words}{threads}"}


def test_dynamic_methods_take_each_texts_factor(folder, corpus, track):
    session = Session(load_checkpoint(folder), "ntk_dynamic", track, corpus)
    assert [session.factor(n) for n in (512, 1024, 2048)] == [1.0, 1.0, 2.0]
    assert [Session(load_checkpoint(folder), "ntk", track, corpus).factor(n) for n in (512, 2048)] == [
        2.0,
        2.0,
    ]


def test_a_dynamic_method_reads_the_trained_length_with_factor_1(folder, corpus, track):
    checkpoint = load_checkpoint(folder)
    sessions = [Session(checkpoint, method, track, corpus) for method in ("ntk_dynamic", "none", "ntk")]
    dynamic, none, ntk = (session.losses(session.window(0)) for session in sessions)
    assert [row.condition["length"] for row in dynamic] == [512, 1024, 1536, 2048]
    assert [row.value for row in dynamic[:2]] == pytest.approx([row.value for row in none[:2]], abs=1e-6)
    assert [row.value for row in dynamic[:2]] != pytest.approx([row.value for row in ntk[:2]], abs=1e-6)
    assert dynamic[2:] == ntk[2:]


def test_a_tokenizer_of_bytes_has_no_room_and_says_so(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers

    checkpoint = load_checkpoint(folder)
    signs = {sign: n for n, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    checkpoint.__dict__["tokenizer"] = Tokenizer(models.BPE(signs, []))
    checkpoint.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(ModelError, match="a text keeps 448"):
        demand_room(checkpoint, TINY)


def test_texts_without_room_for_hidden_numbers_say_so(folder, corpus):
    short = replace(TINY, lengths=(1 / 4, 2))
    with pytest.raises(ModelError, match="texts of 256 tokens, and they need 960: 448 for numbers"):
        runs(load_checkpoint(folder), short, ["none"], [], corpus)
    assert len(runs(load_checkpoint(folder), short, ["none"], [LOSS], corpus)) == 2
    with pytest.raises(ModelError, match="texts of 959 tokens"):  # depths of shorter ones would fall together
        demand_room(load_checkpoint(folder), replace(TINY, lengths=(959 / 1024,)))
    demand_room(load_checkpoint(folder), replace(TINY, lengths=(960 / 1024,)))


def test_a_tokenizer_just_under_the_room_is_refused_before_the_first_run(folder, corpus, monkeypatch):
    checkpoint = load_checkpoint(folder)
    demand_room(checkpoint, TINY)  # its estimate is of other keys and numbers
    monkeypatch.setattr(asked, "ask_thing", lambda thing: " 1" * asked.ROOM)
    with pytest.raises(ModelError, match="a text keeps 448; measure --tasks"):
        runs(checkpoint, TINY, ["none"], [RETRIEVAL], corpus)


def test_a_window_is_one_text(folder, corpus):
    checkpoint = load_checkpoint(folder)
    most = len(asked.windows(checkpoint, 2048, corpus))
    with pytest.raises(
        ModelError, match=f"reads {most + 1} texts of 2048 tokens, and the test books have {most};"
    ):
        runs(checkpoint, replace(TINY, texts=most + 1), ["none"], [], corpus)
    assert runs(checkpoint, replace(TINY, texts=most), ["none"], [LOSS], corpus)


def test_a_model_of_longer_texts_than_books_is_read_to_a_stated_length(
    folder, corpus, track, tmp_path, monkeypatch
):
    long = tmp_path / "long"
    tiny.write(long, max_position_embeddings=100_000)
    with pytest.raises(
        ModelError, match=r"books have 0; use more text, or --trained N with N up to \d+$"
    ) as e:
        runs(load_checkpoint(long), track, ["none"], [LOSS], corpus)
    most = int(str(e.value).rpartition(" ")[2])
    with pytest.raises(ModelError, match="use more text"):
        runs(shortened(load_checkpoint(long), most + 1), track, ["none"], [LOSS], corpus)
    assert runs(shortened(load_checkpoint(long), most), track, ["none"], [LOSS], corpus)
    result = extend(long, corpus, tmp_path / "records", "--trained", "512", "-m", "none", "-t", LOSS)
    assert result.exit_code == 0, result.output
    for r in read_all(tmp_path / "records")[0]:
        assert (r.setup["train_length"], max(r.setup["lengths"])) == (512, 1024)
        assert f"--model long --trained 512 --corpus {corpus.name}" in r.provenance["command"]
    assert reproduce(tmp_path / "records" / r.path, corpus=corpus, model=long)[1].verdict == "equal"
    options = ["--model", str(long), "--corpus", str(corpus), "--trained", "100001"]
    assert exit_code(monkeypatch, "extend", *options) == 3


def test_without_a_stated_length_the_model_is_the_same(folder, corpus, track):
    checkpoint = load_checkpoint(folder)
    same, other = shortened(checkpoint, 1024), shortened(checkpoint, 512)
    assert same.sha256 == checkpoint.sha256 != other.sha256
    assert other.weights is checkpoint.weights


def test_steps_of_another_rounding_are_made_anew(folder, corpus, records, track, tmp_path, monkeypatch):
    (run, *_) = runs(load_checkpoint(folder), TINY, ["none"], [RETRIEVAL], corpus)
    steps, here = place(run, tmp_path), running.rounding()
    steps.parent.mkdir(parents=True)
    for kept, told, resumed in (
        ({**here, "threads": 64}, "begins anew, for its finished steps are of threads 64, kernels", 0),
        (here, "1024 tokens (3 of 3)", 2),
    ):
        whole = next(r for r in read_all(records)[0] if r.fingerprint == run.fingerprint)
        done = {
            f"{length} tokens": {
                "rows": [asdict(row) for row in whole.rows if row.condition["length"] == length],
                "answers": [answer for answer in whole.answers if answer["condition"]["length"] == length],
            }
            for length in (2048, 1536)
        }
        steps.write_text(json.dumps({"fingerprint": run.fingerprint, "rounding": kept, "steps": done}))
        said = list[str]()
        ((_, made),) = running.make([run], tmp_path, said.append)
        assert made.provenance["resumed_steps"] == resumed
        assert made.rows == whole.rows
        assert any(told in line for line in said)
        (tmp_path / run.path).unlink()


@pytest.mark.parametrize("task", [LOSS, RETRIEVAL])
def test_a_record_is_read_again_and_compared(task, folder, corpus, records, track, tmp_path):
    then = next(r for r in read_all(records)[0] if (r.encoding, r.task, r.seed) == ("rope@pi", task, 1))
    before = sorted(records.rglob("*"))
    now, result, mark = reproduce(records / then.path, corpus=corpus, model=folder)
    assert (now.rows, now.answers) == (then.rows, then.answers)
    assert result.verdict == mark["verdict"] == "equal"
    assert mark["numbers"] == len(then.rows)
    assert sorted(records.rglob("*")) == before
    asked_alone = [replace(row, value=1.0 if row.metric == "exact" else row.value / 2) for row in then.rows]
    forged = write(replace(then, rows=tuple(asked_alone)), tmp_path)
    assert reproduce(forged, corpus=corpus, model=folder)[1].verdict == "different"


def test_a_record_of_another_model_or_code_is_not_read_again(folder, corpus, records, track, tmp_path):
    then = next(r for r in read_all(records)[0] if (r.encoding, r.task) == ("rope@pi", LOSS))
    tiny.write(tmp_path / "other", max_position_embeddings=1024, rope_theta=500.0)
    with pytest.raises(ReproduceError, match=r"another model than .*other; in an empty --records folder"):
        reproduce(records / then.path, corpus=corpus, model=tmp_path / "other")
    old = write(replace(then, fingerprint="0" * 64), tmp_path)
    with pytest.raises(ReproduceError, match="other code, text or precision"):
        reproduce(old, corpus=corpus, model=folder)


def test_a_damaged_smollm2_is_refused_with_the_remedy(folder, tmp_path, monkeypatch):
    place = tmp_path / "smollm2"
    shutil.copytree(folder, place)
    sums = {file.name: sha256(file.read_bytes()) for file in place.iterdir()}
    (place / smollm2.SUMS).write_text(json.dumps(sums))
    checkpoint = load_checkpoint(place)
    monkeypatch.setattr(smollm2, "folder", lambda: place)
    monkeypatch.setattr(smollm2, "MODEL", checkpoint.sha256)
    monkeypatch.setattr(smollm2, "WEIGHTS", content(checkpoint.weights))
    assert loaded(None).sha256 == checkpoint.sha256
    monkeypatch.setattr(smollm2, "MODEL", "as another tokenizers wrote it")
    assert loaded(None).sha256 == checkpoint.sha256
    weights = place / "model.safetensors"
    data = weights.read_bytes()
    for file, changed in (
        (weights, data[:-1] + bytes([data[-1] ^ 1])),
        (place / "tokenizer.json", (place / "tokenizer.json").read_bytes() + b" "),
    ):
        before = file.read_bytes()
        file.write_bytes(changed)
        with pytest.raises(
            ModelError, match=r"is damaged: .* remove this folder and run `pebench data prepare"
        ):
            loaded(None)
        file.write_bytes(before)
    assert loaded(None)


FAILING = """
from pebench.encodings.extension import Retuned, method


@method("failing")
class Failing(Retuned):
    title, paper, formula = "failing", "unpublished", "x"

    @staticmethod
    def change(frequencies, factor, length):
        if factor == 2:
            raise ArithmeticError("two is too much")
        return frequencies
"""


def test_a_method_that_fails_ends_no_other(folder, corpus, track, tmp_path, own_methods):
    file = Path(tmp_path, "failing.py")
    file.write_text(FAILING)
    result = extend(folder, corpus, tmp_path / "records", "-m", f"{file}:Failing,none", "-t", LOSS)
    assert result.exit_code == 4, result.output
    assert (
        "failing extend_loss text 0: failed: ArithmeticError: two is too much (failing.py, line 12"
        in result.output
    )
    assert "2 of 4 runs failed" in result.output
    assert {(r.encoding, r.seed) for r in read_all(tmp_path / "records")[0]} == {("rope", 0), ("rope", 1)}
    again = extend(folder, corpus, tmp_path / "records", "-m", f"{file}:Failing,none", "-t", LOSS)
    assert "4 runs, 2 of them done" in again.output


def test_times_are_of_the_kernels_and_scores_are_not(folder, corpus, monkeypatch):
    def codes():
        todo = runs(load_checkpoint(folder), replace(TINY, texts=1), ["none"], [], corpus)
        return {run.task: run.shared_code for run in todo}

    before = codes()
    assert before[LOSS] == before[RETRIEVAL] != before[COST]
    monkeypatch.setattr(running, "native", lambda file: "another kernel")
    after = codes()
    assert [task for task in before if before[task] != after[task]] == [COST]


def test_steps_of_a_finished_run_are_removed(folder, corpus, records, track):
    (run, *_) = runs(load_checkpoint(folder), TINY, ["none"], [LOSS], corpus)
    steps = place(run, records)
    steps.parent.mkdir(parents=True, exist_ok=True)
    steps.write_text("{}")
    assert extend(folder, corpus, records, "--status").exit_code == 0
    assert steps.exists()
    assert extend(folder, corpus, records).exit_code == 0
    assert not steps.exists()
