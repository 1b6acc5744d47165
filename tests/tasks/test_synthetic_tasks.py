"""The computed tasks against plain Python, and their floors against all that a blind predictor could say."""

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from pebench.tasks import TASKS
from pebench.tasks.addition import ZERO, Addition
from pebench.tasks.algorithmic import BEGIN, FIRST, SEPARATOR, AlgorithmicTask
from pebench.tasks.base import IGNORE, Batch, Condition
from pebench.tasks.copy_repeat import CopyRepeat
from pebench.tasks.copy_unique import CopyUnique
from pebench.tasks.flipflop import BIT, DENSE, READ, SKIP, SPARSE, TRAINED, WRITE, FlipFlop
from pebench.tasks.flipflop_error import FlipFlopError
from pebench.tasks.indexing import FARTHEST, SHIFT, Indexing, near
from pebench.tasks.latest import Latest
from pebench.tasks.parity import Parity
from pebench.tasks.permutation import A5, GENERATORS, GROUPS, S3, START, PermutationProduct
from pebench.tasks.recall import FILLER, KEYS, LookUpTask, Recall
from pebench.tasks.recall_again import RecallAgain
from pebench.tasks.reverse import Reverse
from pebench.tasks.sort import KINDS, TENS, Sort

COMPUTED = {name: cls for name, cls in TASKS.items() if issubclass(cls, AlgorithmicTask)}
lengths, seeds = st.integers(1, 12), st.integers(0, 99)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def answers(batch: Batch) -> list[list[int]]:
    return [[t for t in row if t != IGNORE] for row in batch.targets.tolist()]


def questions(batch: Batch) -> list[list[int]]:
    return [row[1 : row.index(SEPARATOR)] for row in batch.tokens.tolist()]


@settings(max_examples=30, deadline=None)
@given(length=lengths, seed=seeds)
def test_the_string_comes_back_reversed(length: int, seed: int) -> None:
    batch = Reverse().examples({"length": length}, 3, rng(seed), "test")
    for question, answer in zip(questions(batch), answers(batch), strict=True):
        assert len(answer) == length
        assert answer == question[::-1]


@settings(max_examples=30, deadline=None)
@given(length=lengths, seed=seeds)
def test_the_sum_is_the_sum(length: int, seed: int) -> None:
    def number(digits: list[int]) -> int:
        return int("".join(str(d - ZERO) for d in reversed(digits)))

    batch = Addition().examples({"length": length}, 3, rng(seed), "test")
    for question, answer in zip(questions(batch), answers(batch), strict=True):
        assert len(answer) == length + 1
        assert number(question[::2]) + number(question[1::2]) == number(answer)


@settings(max_examples=30, deadline=None)
@given(length=lengths, kind=st.sampled_from(list(KINDS)), seed=seeds)
def test_the_items_come_back_sorted(length: int, kind: str, seed: int) -> None:
    width = 1 if kind == "symbols" else 2
    batch = Sort().examples({"length": length, "kind": kind}, 3, rng(seed), "test")
    for question, answer in zip(questions(batch), answers(batch), strict=True):
        items = [question[i : i + width] for i in range(0, width * length, width)]
        assert answer == list(itertools.chain(*sorted(items)))
        assert (min(question) >= TENS) == (kind == "numbers")


@settings(max_examples=30, deadline=None)
@given(length=st.integers(2, 30), ignore=st.sampled_from([TRAINED, SPARSE, DENSE]), seed=seeds)
def test_a_read_gives_the_newest_write(length: int, ignore: float, seed: int) -> None:
    batch = FlipFlop().examples({"length": length, "ignore": ignore}, 3, rng(seed), "test")
    for row, target in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert len(row) == 2 * length - 1
        assert (row[0], row[-1]) == (WRITE, READ)
        register = None
        for t, token in enumerate(row):
            if t % 2:
                assert token in (BIT, BIT + 1)
                assert target[t] == IGNORE
            elif token == READ:
                assert target[t] == register
                assert t + 1 == len(row) or row[t + 1] == register
            else:
                assert target[t] == IGNORE
                register = row[t + 1] if token == WRITE else register


@pytest.mark.parametrize("ignore", [TRAINED, SPARSE, DENSE])
def test_instructions_have_the_shares_of_the_flip_flop_language(ignore: float) -> None:
    tokens = FlipFlop().examples({"length": 202, "ignore": ignore}, 500, rng(), "test").tokens
    middle = tokens[:, 2:-1:2]
    for instruction, share in ((SKIP, ignore), (WRITE, (1 - ignore) / 2), (READ, (1 - ignore) / 2)):
        error = math.sqrt(share * (1 - share) / middle.numel())
        assert (middle == instruction).double().mean().item() == pytest.approx(share, abs=4 * error)


def test_flipflop_trains_and_gates_on_one_distribution_and_tests_on_three() -> None:
    conditions = FlipFlop().conditions(16, (1, 1.5, 2))
    assert [c["ignore"] for c in conditions if c["length"] == 16] == [TRAINED]
    assert [c["ignore"] for c in conditions if c["length"] == 32] == [TRAINED, SPARSE, DENSE]


def test_the_groups_are_groups() -> None:
    for group, size in ((S3, 6), (A5, 60)):
        assert len(set(group)) == size
        assert group[0] == tuple(range(len(group[0])))
        assert {tuple(q[i] for i in p) for p in group for q in group} == set(group)


@pytest.mark.parametrize("name", GROUPS)
def test_the_generators_reach_the_whole_group(name: str) -> None:
    reached, new = set(), {GROUPS[name][0]}
    while new:
        reached |= new
        new = {tuple(q[i] for i in p) for p in new for q in GENERATORS[name]} - reached
    assert reached == set(GROUPS[name])


@settings(max_examples=30, deadline=None)
@given(length=lengths, name=st.sampled_from(list(GROUPS)), seed=seeds)
def test_each_step_asks_for_the_product_so_far(length: int, name: str, seed: int) -> None:
    group = GROUPS[name]
    batch = PermutationProduct().examples({"length": length, "group": name}, 3, rng(seed), "test")
    for row, target in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert (row[0], target[0]) == (BEGIN, IGNORE)
        places = list(group[0])  # where each of the things has got to
        for token, product in zip(row[1:], target[1:], strict=True):
            places = [group[token - START[name]][place] for place in places]
            assert group[product - START[name]] == tuple(places)


@settings(max_examples=30, deadline=None)
@given(length=lengths, seed=seeds)
def test_unique_copies_have_distinct_symbols_and_repeated_ones_few(length: int, seed: int) -> None:
    for task in (CopyUnique(), CopyRepeat()):
        batch = task.examples({"length": length}, 3, rng(seed), "test")
        for question, answer in zip(questions(batch), answers(batch), strict=True):
            assert question == answer
            assert len(answer) == length
            if isinstance(task, CopyUnique):
                assert len(set(answer)) == length
            else:
                assert set(answer) <= set(range(FIRST, FIRST + 4))


def test_lengths_without_enough_symbols_are_not_measured() -> None:
    assert [c["length"] for c in CopyUnique().conditions(64, (1, 2, 3))] == [64, 128]
    assert [c["length"] for c in Indexing().conditions(64, (1, 2, 3))] == [64, 128]


@settings(max_examples=30, deadline=None)
@given(length=lengths, seed=seeds)
def test_each_answer_is_the_parity_of_the_bits_so_far(length: int, seed: int) -> None:
    batch = Parity().examples({"length": length}, 3, rng(seed), "test")
    for row, target in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        bits = [token - 1 for token in row[1:]]
        assert set(bits) <= {0, 1}
        assert target == [IGNORE, *(1 + sum(bits[: n + 1]) % 2 for n in range(length))]


@settings(max_examples=40, deadline=None)
@given(length=st.integers(2, 40), seed=seeds)
def test_the_answer_stands_so_many_places_from_its_symbol(length: int, seed: int) -> None:
    batch = Indexing().examples({"length": length}, 3, rng(seed), "test")
    for row, line, answer in zip(batch.tokens.tolist(), questions(batch), answers(batch), strict=True):
        assert len(set(line)) == len(line) == length
        asked = row[length + 2 :]
        for symbol, shift, said in zip(asked[::3], asked[1::3], answer, strict=True):
            assert 0 < abs(shift - SHIFT) <= FARTHEST
            assert line[line.index(symbol) + shift - SHIFT] == said
        assert asked[2::3] == answer[:-1]  # fed back


def test_all_pairs_of_near_places_are_asked_for_equally_often() -> None:
    length, n = 12, 6000
    batch = Indexing().examples({"length": length}, n, rng(), "test")
    seen = Counter(
        (line.index(row[length + 2]), line.index(answer[0]))
        for row, line, answer in zip(batch.tokens.tolist(), questions(batch), answers(batch), strict=True)
    )
    assert set(seen) == set(near(length))
    share = 1 / len(near(length))
    error = math.sqrt(share * (1 - share) / n)
    assert all(count / n == pytest.approx(share, abs=5 * error) for count in seen.values())


@settings(max_examples=40, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["once", "again"]), length=st.integers(2, 40), seed=seeds)
def test_keys_are_assigned_once_or_again_with_noise_between(
    data: st.DataObject, kind: str, length: int, seed: int
) -> None:
    keys = data.draw(st.integers(1, min(length, KEYS)))
    condition: Condition = {"length": length, "keys": keys, "kind": kind}
    batch = RecallAgain().examples(condition, 3, rng(seed), "test")
    for row, facts, answer in zip(batch.tokens.tolist(), questions(batch), answers(batch), strict=True):
        triples = [tuple(facts[i : i + 3]) for i in range(0, 3 * length, 3)]
        held = {key: value for key, *value in triples if key < FILLER}  # the newest
        asked = row[3 * length + 2 :: 3]
        assert sorted(asked) == sorted(held)
        assert len(held) == keys
        assert answer == [token for key in asked for token in held[key]]
        if kind == "once":
            assert sum(key < FILLER for key, *_ in triples) == keys


def test_half_of_the_slots_beside_the_first_facts_assign_again() -> None:
    condition: Condition = {"length": 40, "keys": 4, "kind": "again"}
    slots = RecallAgain().slots(condition, 500, rng())
    share = ((slots >= 0).double().sum() - 500 * 4) / (500 * 36)
    assert share.item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(500 * 36))


def test_the_log_of_the_error_counts_the_wrong_reads() -> None:
    task, condition = FlipFlopError(), {"length": 32, "ignore": TRAINED}
    batch = task.examples(condition, 64, rng(), "test")
    reads = int((batch.targets != IGNORE).sum())
    left = [5]  # reads to be got wrong

    def slips(tokens: torch.Tensor) -> torch.Tensor:
        said = task.solve(tokens)
        row, place = (tokens == READ).nonzero()[0]
        if left[0]:
            left[0] -= 1
            said[row, place] = BIT + 1 - (said[row, place] - BIT)
        return one_hot(said, task.vocab).float()

    one_wrong = {s.metric: s for s in task.measure(slips, condition, 64, rng())}["log_error"]
    assert one_wrong.value == pytest.approx(-math.log10(1.5 / (reads + 1)))
    none = {s.metric: s for s in task.measure(task.oracle(), condition, 64, rng())}["log_error"]
    assert none.value == none.ceiling == pytest.approx(-math.log10(0.5 / (reads + 1)))
    assert one_wrong.n == none.n == 64


@settings(max_examples=40, deadline=None)
@given(data=st.data(), latest=st.booleans(), length=st.integers(2, 40), seed=seeds)
def test_every_key_is_asked_for_once_and_has_its_newest_value(
    data: st.DataObject, latest: bool, length: int, seed: int
) -> None:
    task: LookUpTask = Latest() if latest else Recall()
    p = data.draw(st.integers(1, length // 2 if latest else min(length, KEYS)))
    condition: Condition = {"length": length, ("keys" if latest else "pairs"): p}
    batch = task.examples(condition, 3, rng(seed), "test")
    assert batch.tokens.shape[1] == task.size(condition)
    for row, facts, answer in zip(batch.tokens.tolist(), questions(batch), answers(batch), strict=True):
        triples = [tuple(facts[i : i + 3]) for i in range(0, 3 * length, 3)]
        held = {key: value for key, *value in triples if key < FILLER}
        keys = row[3 * length + 2 :: 3]
        assert len(held) == p
        assert sorted(keys) == sorted(held)
        assert answer == [token for key in keys for token in held[key]]
        assert row[3 * length + 3 :: 3] == answer[::2]  # fed back
        assert all(FIRST <= min(v) <= max(v) < FILLER for v in held.values())
        assert held.keys().isdisjoint(itertools.chain(*held.values()))
        assert sum(key < FILLER for key, *_ in triples) == (length if latest else p)


def test_more_slots_than_keys_are_no_error() -> None:
    for task in (Recall(), Latest()):
        conditions = task.conditions(300, (1, 2))
        assert {task.keys(c) for c in conditions} <= {KEYS}
        assert task.examples(conditions[-1], 1, rng(), "test").tokens.shape[1] == 3 * (600 + KEYS) + 1


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_trained_covers_the_gate_and_all_shorter_lengths(name: str) -> None:
    task = COMPUTED[name]()
    assert isinstance(task, AlgorithmicTask)
    lessons = [task.lesson(6, rng(seed)) for seed in range(400)]
    for condition in task.conditions(6, (1,)):
        assert condition in lessons
    shortest = 2 if name in ("flipflop", "flipflop_error", "indexing") else 1
    assert {c["length"] for c in lessons} == set(range(shortest, 7))
    assert max(task.size(c) for c in lessons) == task.context(6)


@pytest.mark.parametrize("name", COMPUTED)
def test_the_size_is_that_of_the_tokens(name: str) -> None:
    task = COMPUTED[name]()
    assert isinstance(task, AlgorithmicTask)
    for condition in task.conditions(7, (1, 1.5, 2)):
        assert task.examples(condition, 2, rng(), "test").tokens.shape == (2, task.size(condition))


# What an answer is likely to be is counted here over every possible example, without the tasks' code.


def test_the_floor_of_addition_is_the_commonest_digit_of_every_place() -> None:
    for n in (1, 2):
        sums = [str(a + b).zfill(n + 1) for a in range(10**n) for b in range(10**n)]
        best = [max(Counter(places).values()) / len(sums) for places in zip(*sums, strict=True)]
        assert sum(best) / (n + 1) == pytest.approx(Addition().chance({"length": n}))


def test_the_floor_of_sort_is_its_commonest_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "symbols", 4)
    for n in range(1, 10):
        decks, more = divmod(n, 4)
        hands = itertools.permutations(range(4), more)
        ways = Counter(tuple(sorted([*range(4)] * decks + [*hand])) for hand in hands)
        assert Sort().chance({"length": n, "kind": "symbols"}) == pytest.approx(
            max(ways.values()) / ways.total()
        )


def test_no_item_to_sort_comes_twice_while_there_are_others() -> None:
    for kind, size in KINDS.items():
        items = Sort().answer(Sort().questions({"length": size + 3, "kind": kind}, 5, rng()))
        width = 1 if kind == "symbols" else 2
        for row in items.unflatten(1, (-1, width)).tolist():
            assert sorted(Counter(map(tuple, row)).values()) == [1] * (size - 3) + [2] * 3


@pytest.mark.parametrize("ignore", [TRAINED, SPARSE, DENSE])
def test_the_floor_of_flipflop_is_the_best_of_all_fixed_answers(ignore: float) -> None:
    n = 6
    share = {SKIP: ignore, WRITE: (1 - ignore) / 2, READ: (1 - ignore) / 2}
    best = [0.0] * 2**n  # P(every read is right) for each sequence of bits said
    for middle in itertools.product(share, repeat=n - 2):
        program = (WRITE, *middle, READ)
        p = math.prod(share[instruction] for instruction in middle)
        writes = program.count(WRITE)
        for bits in itertools.product((0, 1), repeat=writes):
            fresh = iter(bits)
            holds, wanted, cares = 0, 0, 0
            for t, instruction in enumerate(program):
                if instruction == WRITE:
                    holds = next(fresh)
                elif instruction == READ:
                    cares |= 1 << t
                    wanted |= holds << t
            for said in range(2**n):
                if not (said ^ wanted) & cares:
                    best[said] += p / 2**writes
    assert FlipFlop().chance({"length": n, "ignore": ignore}) == pytest.approx(max(best))


@pytest.mark.parametrize("name", GROUPS)
def test_all_words_of_generators_have_different_products(name: str) -> None:
    n = 6
    generators = torch.tensor([START[name] + GROUPS[name].index(p) for p in GENERATORS[name]])
    words = torch.cartesian_prod(*[generators] * n)
    tokens = torch.cat([torch.full((len(words), 1), BEGIN), words], dim=1)
    seen = Counter(map(tuple, PermutationProduct().solve(tokens)[:, 1:].tolist()))
    assert set(seen.values()) == {1}
    assert PermutationProduct().chance({"length": n, "group": name}) == pytest.approx(1 / len(words))


# The best that can be said blindly, token by token: [t] is said at position t.
BLIND: dict[str, tuple[Condition, list[int]]] = {
    "copy": ({"length": 1}, [FIRST] * 3),
    "reverse": ({"length": 1}, [FIRST] * 3),
    "addition": ({"length": 1}, [ZERO + 9] * 4 + [ZERO]),
    "flipflop": ({"length": 8, "ignore": DENSE}, [BIT] * 15),
    "permutation": ({"length": 2, "group": "S3"}, [BEGIN, START["S3"] + S3.index((1, 0, 2)), START["S3"]]),
    "sort": ({"length": 1, "kind": "symbols"}, [FIRST] * 3),
    "recall": ({"length": 1, "pairs": 1}, [FIRST] * 7),
    "latest": ({"length": 2, "keys": 1}, [FIRST + KEYS] * 10),
    "copy_unique": ({"length": 1}, [FIRST] * 3),
    "copy_repeat": ({"length": 2}, [FIRST] * 5),
    "parity": ({"length": 3}, [BEGIN, 1, 1, 1]),
    "flipflop_error": ({"length": 8, "ignore": DENSE}, [BIT] * 15),
    "indexing": ({"length": 2}, [FIRST] * 15),
    "recall_again": ({"length": 2, "keys": 1, "kind": "again"}, [FIRST] * 10),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_the_best_blind_predictor_scores_the_floor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = COMPUTED[name]()
    assert isinstance(task, AlgorithmicTask)
    if isinstance(task, LookUpTask):
        monkeypatch.setattr(type(task), "values", 4)  # else the floor would be too low to be seen
    monkeypatch.setattr("pebench.tasks.indexing.SYMBOLS", 4)
    condition, said = BLIND[name]
    logits = one_hot(torch.tensor(said), task.vocab).float()
    n = 20_000
    score = task.measure(lambda tokens: logits.expand(*tokens.shape, -1), condition, n, rng())[0]
    assert score.floor is not None
    assert score.floor > 0.005  # else nothing is compared
    error = math.sqrt(score.floor * (1 - score.floor) / n)
    assert score.value == pytest.approx(score.floor, abs=4 * error)


@pytest.mark.parametrize("name", COMPUTED)
def test_one_wrong_token_is_not_exact(name: str) -> None:
    task = COMPUTED[name]()
    assert isinstance(task, AlgorithmicTask)
    condition = task.conditions(8, (1,))[0]

    def slips(tokens: torch.Tensor) -> torch.Tensor:
        said = task.solve(tokens)
        said[:, -1] = (said[:, -1] + 1) % task.vocab
        return one_hot(said, task.vocab).float()

    scores = {score.metric: score.value for score in task.measure(slips, condition, 8, rng())}
    assert scores["exact"] == 0.0
    assert 0.0 <= scores["per_token"] < 1.0
