"""Tasks over GPT-2's tokens: what they train on, what they score, and what they say without shards."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pebench.suite.cli import app, explained
from pebench.suite.experiment.profiles import PAPER_SMOKE, PROFILES
from pebench.suite.results.record import read_all
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.preflight import expected, state
from pebench.tasks.data.corpus import CorpusError
from pebench.tasks.data.tokens import END_OF_TEXT, identity, tokenizer
from pebench.tasks.harness_tokens import HarnessTokens
from pebench.tasks.language_tokens import LanguageTokens, byte_counts, held_out
from pebench.tasks.lm_eval import questions
from pebench.tasks.needle_tokens import DIGITS, NeedleTokens, words
from tests.tasks.token_shards import made

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, bpe: None) -> Path:
    return made(tmp_path_factory.mktemp("tokens"))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blind(tokens: torch.Tensor) -> torch.Tensor:
    return torch.zeros(*tokens.shape, LanguageTokens.vocab)


def test_a_batch_follows_from_its_random_state_and_predicts_the_next_token(shards: Path) -> None:
    task = LanguageTokens(shards)
    batch, again = (task.training(16, 64, rng(3)) for _ in range(2))
    assert batch.tokens.shape == (4, 16)
    assert torch.equal(batch.tokens, again.tokens)
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
    assert not torch.equal(batch.tokens, task.training(16, 64, rng(4)).tokens)


def test_every_length_scores_the_same_held_out_tokens(shards: Path) -> None:
    task = LanguageTokens(shards)
    conditions = task.conditions(32, (1, 2, 4))
    assert [c["length"] for c in conditions] == [32, 64, 128]
    targets = [task.windows(3, "test", c).targets.flatten() for c in conditions]
    assert all(torch.equal(each, targets[0]) for each in targets)
    text = held_out(shards).tobytes()
    for split in ("valid", "test"):
        for row in task.stretches(2, split, 128).numpy().astype("uint16"):
            assert row.tobytes() in text


@pytest.mark.parametrize(("gate", "test"), [(128, 128), (32, 128), (64, 96)])
def test_the_gate_and_the_test_share_no_token_whatever_their_lengths(
    gate: int, test: int, shards: Path
) -> None:
    task = LanguageTokens(shards)
    text = held_out(shards)

    def places(rows: torch.Tensor) -> set[int]:
        found = text.tobytes()
        starts = [found.find(row.astype("uint16").tobytes()) // 2 for row in rows.numpy()]
        assert min(starts) >= 0
        return {start + n for start in starts for n in range(rows.shape[1])}

    assert not places(task.stretches(1000, "valid", gate)) & places(task.stretches(1000, "test", test))


def test_loss_and_bits_are_those_of_the_model(shards: Path) -> None:
    """A model without a preference has the logarithm of the vocabulary; one that knows the text has no loss."""
    task = LanguageTokens(shards)
    (condition,) = task.conditions(64, (1,))
    scores = {s.metric: s for s in task.measure(blind, condition, 2, rng()) if s.metric != "bits_at"}
    assert scores["loss"].value == pytest.approx(math.log(task.vocab), rel=1e-5)
    targets = task.windows(2, "test", condition).targets
    text = (
        tokenizer().decode(targets.flatten().tolist(), skip_special_tokens=False).replace("<|endoftext|>", "")
    )
    assert scores["bits_per_byte"].n == len(text.encode())
    whole = scores["loss"].value / math.log(2) * targets.numel()
    assert scores["bits_per_byte"].value == pytest.approx(whole / len(text.encode()), rel=1e-5)
    assert scores["bits_per_byte"].floor is not None
    assert scores["bits_per_byte"].floor < scores["bits_per_byte"].value
    known = task.measure(task.oracle(), condition, 2, rng())
    assert all(s.value == pytest.approx(0.0, abs=1e-6) for s in known)
    assert [s.condition["position"] for s in known if s.metric == "bits_at"] == [0, 16, 32]


def test_a_token_has_the_bytes_that_it_decodes_to(bpe: None) -> None:
    ids = tokenizer().encode("naïve — 漢字, the ship").ids
    assert int(byte_counts()[torch.tensor(ids)].sum()) == len("naïve — 漢字, the ship".encode())
    assert int(byte_counts()[END_OF_TEXT]) == 0


def test_needles_stand_where_they_should_and_can_be_found(shards: Path) -> None:
    task = NeedleTokens(shards)
    for condition in task.conditions(64, (1,)):
        tokens, targets = task.examples(condition, 3, rng(1), "test")
        assert tokens.shape == targets.shape == (3, 64)
        assert ((targets >= 0).sum(1) == DIGITS).all()
        said = [tokenizer().decode(row) for row in tokens.tolist()]
        assert all(text.count(" The number of ") == int(condition.get("needles", 1)) + 1 for text in said)
        if condition.get("depth") == 0.0:
            assert all(text.startswith(" The number of ") for text in said)
        exact = task.measure(task.oracle(), condition, 3, rng(1))[0]
        assert (exact.metric, exact.value, exact.floor) == ("exact", 1.0, 10.0**-DIGITS)
        assert task.measure(blind, condition, 3, rng(1))[0].value == 0.0
    assert len({len(words(key, value)) for key in "AQZ" for value in ("0000", "4821")}) == 1


def test_the_seven_tasks_are_asked_as_lm_eval_asks_them(shards: Path, harness_questions: None) -> None:
    task = HarnessTokens(shards)
    conditions = task.conditions(512, (1,))
    assert [c["task"] for c in conditions] == list(questions.SOURCES)
    oracle = task.oracle()
    for condition in (conditions[0], conditions[-2]):  # one context and several answers; the other way round
        scores = task.measure(oracle, condition, 2, rng())
        assert scores[0].metric == "accuracy"
        assert scores[0].value == 1.0
        assert 0 < (scores[0].floor or 0) < 1


def test_too_little_text_is_said_with_the_remedy(shards: Path) -> None:
    with pytest.raises(CorpusError, match="tokenise more text"):
        LanguageTokens(shards).stretches(1, "test", 10**6)
    with pytest.raises(CorpusError, match="--corpus FOLDER"):
        LanguageTokens().training(16, 64, rng())


def test_a_sweep_without_shards_says_what_is_missing(tmp_path: Path) -> None:
    words = ["run", "--profile", "PAPER_SMOKE", "-e", "rope", "--records", os.fspath(tmp_path / "r")]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, CorpusError)
    assert explained(done.exception) == 3
    assert "pebench data tokenise" in str(done.exception)
    assert "--corpus" in str(done.exception)


def test_a_node_hashes_the_shards_before_it_gets_runs(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "shards"
    subprocess.run(["cp", "-r", shards, copy], check=True)
    cells = [Cell("rope", task, "PAPER_SMOKE", 0, copy) for task in PAPER_SMOKE.plans]
    asked = expected(cells)
    assert len({sha for _, sha in asked}) == 3
    file = next(copy.glob("valid*.bin"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    (fault,) = [fault for fault in state(asked)["faults"] if "is missing or damaged" in fault]
    assert "tokenise again" in fault
    about = cells[0].setup()["corpus"]
    assert about["sha256"] == identity(shards)["sha256"]
    assert PROFILES["PAPER_SMOKE"] is PAPER_SMOKE


@pytest.mark.engines
@pytest.mark.timeout(600)
def test_two_ranks_make_the_runs_of_the_small_profile(
    shards: Path, tmp_path: Path, harness_questions: None
) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "pebench.suite.cli",
        "run",
        "--profile",
        "PAPER_SMOKE",
        "-e",
        "fox",
    ]
    command += ["-t", ",".join(PAPER_SMOKE.plans), "--corpus", shards, "--records", tmp_path]
    done = subprocess.run([*command, "--ranks", "2", "--micro-batch", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {record.task: record for record in read_all(tmp_path)[0]}
    assert set(found) == set(PAPER_SMOKE.plans)
    assert {r.outcome for r in found.values()} == {"measured"}
    trained = found["language_tokens"].provenance
    assert (trained["ranks"], trained["micro_batch"]) == (2, 2)
    assert {row.condition.get("task") for row in found["harness_tokens"].rows} >= set(questions.SOURCES)
    for task in ("needle_tokens", "harness_tokens"):
        assert found[task].provenance["base"] == found["language_tokens"].path.as_posix()
