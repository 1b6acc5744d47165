import itertools
import time
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from pebench.leaderboard import ranking
from pebench.leaderboard.ranking.scores import shares
from pebench.leaderboard.table import run_table, score_table
from pebench.suite.results.record import Row
from tests.made_records import SKILL, Sweep

ANSWERS = 256


def scores(means, rng, seeds=3, tasks=4, lengths=3, common=0.05, own=0.03, harder=0.2):
    """Shares around means (E,): harder tasks, parts common to a seed, parts of a run; the same test items for all."""
    shape = (len(means), tasks, seeds, lengths)
    e, t, s, c = (index.ravel() for index in np.indices(shape))
    own = np.broadcast_to(own, (len(means),))
    p = np.asarray(means)[:, None, None, None] + rng.uniform(-harder, harder, (tasks, 1, lengths))
    items = rng.binomial(ANSWERS, p.clip(0.02, 0.98)) / ANSWERS - p
    p = p + rng.normal(scale=common, size=(1, tasks, seeds, 1))
    p = p + own[:, None, None, None] * rng.normal(size=(len(means), tasks, seeds, 1))
    value = (p + items).clip(0, 1).ravel()
    return pd.DataFrame(
        {
            "encoding": [f"e{i:02}" for i in e],
            "task": [f"task{i}" for i in t],
            "task_family": [f"family{i // 2}" for i in t],
            "seed": s,
            "metric": "exact",
            "condition": [f"length {2**i}" for i in c],
            "length": 2.0**c,
            "phase": np.where(c == 0, "at_length", "beyond"),
            "value": value,
            "n": ANSWERS,
            "floor": 0.0,
            "ceiling": 1.0,
            "score": value,
        }
    )


def refilled(layout, table):
    """Cells of another table of the same shape as the layout's, without what `ranking.cells` takes to find it."""

    def arranged(values):  # (E, T, S, L) as `scores` has them, to (E, S, C)
        encodings, seeds, _ = layout.score.shape
        return (
            values.reshape(encodings, len(layout.tasks), seeds, -1)
            .swapaxes(1, 2)
            .reshape(layout.score.shape)
            .copy()
        )

    return replace(
        layout,
        score=arranged(table["score"].to_numpy()),
        noise=arranged(np.asarray(ranking.sampling_error(table))),
    )


def test_a_refilled_layout_is_what_the_table_gives():
    rng = np.random.default_rng(0)
    first, second = (scores(np.linspace(0.3, 0.6, 4), rng, seeds=2) for _ in range(2))
    mine, own = refilled(ranking.cells(first), second), ranking.cells(second)
    assert (mine.score == own.score).all()
    assert (mine.noise == own.noise).all()


@pytest.mark.parametrize("unequal", [False, True], ids=["equal variances", "unequal variances"])
@pytest.mark.parametrize("seeds", [3, *(pytest.param(n, marks=pytest.mark.walks) for n in (1, 5))])
def test_one_encoding_under_ten_names_is_split_in_at_most_five_percent_of_trials(seeds, unequal):
    assert_rarely_split(seeds, unequal)


def test_it_is_split_as_rarely_where_some_names_have_one_seed():
    """Where runs vary alike: nothing tells of one that has a single seed and varies more than the others do."""
    assert_rarely_split(3, unequal=False, single=4)


def assert_rarely_split(seeds, unequal, single=0):
    """At most 5 % of boards of ten equal encodings, `single` of them with one seed, have two tiers."""
    trials, split = 200, 0
    rng = np.random.default_rng(seeds + single)
    layout = ranking.cells(scores(np.full(10, 0.5), rng, seeds=seeds))
    for _ in range(trials):
        own = 0.03 * np.exp(0.8 * rng.normal(size=10)) if unequal else 0.03
        # With one seed nobody can know how much a run varies: the board says so, and here it does not.
        table = scores(np.full(10, 0.5), rng, seeds=seeds, own=own if seeds > 1 else 0.0)
        data = refilled(layout, table)
        data.score[:single, 1:] = np.nan
        order = np.argsort(-np.nanmean(ranking.averages(data)[0], axis=1))
        pairs = ranking.pairs(data, ranking.within_tasks(data))
        tiers = ranking.tiers(order, ranking.corrected(pairs.p))
        split += max(tiers.values()) > 1
    assert split <= 0.05 * trials, f"{split} of {trials} trials"


def test_two_variances_that_are_one_estimate_are_not_two():
    """Encodings with one seed both borrow the others' variance: it is known as well as these know it, not better."""
    table = scores(np.full(10, 0.5), np.random.default_rng(0))
    data = ranking.cells(table[table["encoding"].lt("e04") | table["seed"].eq(0)])
    first, *rest = ranking.within_tasks(data)
    loud = replace(first, own=1e4 * first.own, borrowed=1e4 * first.borrowed)  # so that it alone decides
    assert first.residual_df == pytest.approx(4 * 2 * 3 / 4)
    assert ranking.pairs(data, [loud, *rest]).df[8, 9] == pytest.approx(first.residual_df, rel=0.01)


def test_extensions_of_one_training_tell_of_seeds_as_one_encoding_does():
    table = scores(np.full(6, 0.5), np.random.default_rng(0), own=[0.01, 0.03, 0.03, 0.03, 0.03, 0.06])
    table = table[~(table["encoding"].isin(["e00", "e04"]) & table["seed"].eq(2))]
    first = table[table["encoding"] == "e00"]
    copies = [first.assign(encoding=f"e00@m{n}", score=first["score"] + 0.01 * n) for n in range(8)]
    alone, beside = (ranking.cells(pd.concat([table, *more])) for more in ([], copies))
    shown = [beside.encodings.index(name) for name in alone.encodings]
    parts, more = ranking.within_tasks(alone), ranking.within_tasks(beside)
    for a, b in zip(parts, more, strict=True):
        assert (a.common, a.common_df, a.residual_df) == pytest.approx((b.common, b.common_df, b.residual_df))
        np.testing.assert_allclose(a.own, b.own[shown])
        assert b.alike[shown].tolist() == [9, 1, 1, 1, 1, 1]
    expected, found = ranking.pairs(alone, parts), ranking.pairs(beside, more)
    for part in ("difference", "runs", "df", "p"):
        np.testing.assert_allclose(getattr(found, part)[np.ix_(shown, shown)], getattr(expected, part))


def test_extensions_of_one_training_alone_are_compared_as_encodings_are():
    table = scores(np.full(3, 0.5), np.random.default_rng(0))
    extensions = table.assign(encoding=table["encoding"].map({"e00": "e00", "e01": "e00@a", "e02": "e00@b"}))
    expected, found = (
        ranking.pairs(data, ranking.within_tasks(data)) for data in map(ranking.cells, (table, extensions))
    )
    for part in ("difference", "runs", "df", "p"):
        np.testing.assert_allclose(getattr(found, part), getattr(expected, part))


def test_encodings_of_shared_seeds_are_linked_whatever_their_variances():
    rng = np.random.default_rng(0)
    for _ in range(300):
        score = rng.normal(0.5, 0.1, (40, 3))
        score[rng.random(40) < 0.5, 1:] = np.nan
        score[0] = 0.5
        gap, added = ranking.freed(score, 10 ** rng.uniform(-8, -2, 40))
        assert np.isfinite(gap).all()
        assert np.isfinite(added).all()


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    found = [
        ranking.rank(scores([0.6, 0.45, 0.45, 0.45, 0.3], rng)).table["tier"].tolist() for _ in range(20)
    ]
    assert found.count([1, 2, 2, 2, 3]) >= 19


def test_intervals_hold_the_true_score_about_as_often_as_they_say():
    rng, inside = np.random.default_rng(1), []
    tables = [scores(np.full(6, 0.5), rng, seeds=5, harder=0.0) for _ in range(100)]
    layout = ranking.cells(tables[0])
    share = shares(layout, np.ones(len(layout.names), bool))
    for table in tables:
        _, low, high = ranking.averaged(ranking.within_tasks(refilled(layout, table)), share)
        inside.append(((low <= 0.5) & (high >= 0.5)).mean())
        if table is tables[0]:  # the intervals that the board shows are these
            shown = ranking.rank(table).table.sort_values("encoding")
            np.testing.assert_allclose(shown[["low", "high"]], np.stack([low, high], axis=1))
    assert 0.92 <= np.mean(inside) <= 0.99


def test_families_tasks_lengths_and_conditions_weigh_the_same():
    names = pd.DataFrame(
        [("f", "a", 1, 0), ("f", "a", 1, 1), ("f", "a", 2, 2), ("f", "b", 1, 3), ("g", "c", 1, 4)],
        columns=ranking.NESTING,
    )
    groups = pd.DataFrame(
        {
            level: names.groupby(list(ranking.NESTING[:n]), sort=True).ngroup()
            for n, level in enumerate(ranking.NESTING, 1)
        }
    )
    whole = ranking.weights(groups, np.ones(5, bool))
    assert whole == pytest.approx([1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2])
    part = ranking.weights(groups, np.array([True, False, True, False, False]))
    assert part == pytest.approx([1 / 2, 0, 1 / 2, 0, 0])


def test_what_is_missing_is_not_zero_and_not_compared():
    rng = np.random.default_rng(2)
    table = scores([0.5, 0.5, 0.5], rng, own=0.01)
    # The third encoding has only the length that is easy for all.
    easy = table["length"] == 1
    table.loc[easy, ["value", "score"]] = 0.9
    table = table[(table["encoding"] != "e02") | easy | (table["length"] == 2)]
    r = ranking.rank(table)
    row = r.table.set_index("encoding").loc["e02"]
    assert row["coverage"] == pytest.approx(2 / 3)
    assert row["score"] > 0.6
    assert row["tier"] == 1
    assert abs(row["advantage"]) < 0.05  # not the 0.15 that the easy length would give


def test_too_little_covered_means_no_rank_and_a_reason():
    table = scores([0.5, 0.5, 0.5], np.random.default_rng(3))
    short = ranking.rank(table[(table["encoding"] != "e01") | (table["length"] == 1)]).table
    assert (
        short.set_index("encoding").loc["e01", "reason"] == "covers 33% of the conditions; a rank needs 50%"
    )
    lacking = (table["encoding"] == "e01") & (table["task_family"] == "family1")
    family = ranking.rank(table[~lacking]).table
    row = family.set_index("encoding").loc["e01"]
    assert row["reason"] == "no result yet in family1"
    assert pd.isna(row["rank"])
    assert np.isfinite(row["score"])


def test_a_blocked_encoding_is_listed_without_a_rank_and_changes_no_other():
    table = scores([0.6, 0.5, 0.4], np.random.default_rng(4))
    blocked = ranking.rank(table, {"e00": "certificate failed"}).table.set_index("encoding")
    without = ranking.rank(table[table["encoding"] != "e00"]).table.set_index("encoding")
    assert pd.isna(blocked.loc["e00", "tier"])
    assert blocked.loc["e00", "score"] > 0.5
    assert blocked.loc["e01", "rank"] == without.loc["e01", "rank"] == 1
    assert list(blocked.index) == ["e01", "e02", "e00"]


def test_what_only_one_encoding_has_compares_nothing_and_does_not_count():
    table = scores([0.5, 0.4], np.random.default_rng(13))
    invented = table[table["encoding"] == "e01"].assign(task="invented", task_family="invented", score=1.0)
    pd.testing.assert_frame_equal(ranking.rank(pd.concat([table, invented])).table, ranking.rank(table).table)


def test_an_unfinished_seed_is_left_out_of_the_comparison():
    table = scores([0.5, 0.5], np.random.default_rng(5))
    late = (table["encoding"] == "e01") & (table["seed"] == 2) & (table["task"] == "task3")
    data = ranking.cells(table[~late | (table["length"] == 1)])
    assert data.runs.tolist() == [[3, 3, 3, 3], [3, 3, 3, 2]]
    assert data.has_cell.all()
    assert ranking.pairs(data, ranking.within_tasks(data)).seeds.tolist() == [[3, 2], [2, 2]]


def test_an_encoding_that_shares_no_seed_with_any_other_has_no_rank():
    table = scores([0.2, 0.8, 0.5], np.random.default_rng(6), seeds=4)
    r = ranking.rank(table[(table["encoding"] == "e00") == (table["seed"] < 2)])
    assert r.table["encoding"].tolist() == ["e01", "e02", "e00"]
    assert r.table["reason"].tolist() == ["", "", "shares no seed with any other that has two"]
    assert not r.table["preview"].any()
    assert np.isfinite(r.table["score"]).all()
    apart = ranking.differences(r, "e00", "e01")
    assert apart[["difference", "p"]].isna().all(axis=None)


def test_fewer_than_two_seeds_in_a_task_is_a_preview():
    """One seed everywhere, one in a single task, a task missing: a score, and neither rank nor p-value."""
    table = scores([0.9, 0.8, 0.7, 0.5, 0.4], np.random.default_rng(6))
    late, last = table["seed"] > 0, table["task"] == "task3"
    name = table["encoding"]
    kept = ~(((name == "e00") & late) | ((name == "e01") & late & last) | ((name == "e02") & last))
    r = ranking.rank(table[kept])
    rows = r.table.set_index("encoding")
    assert list(rows.index) == ["e03", "e04", "e00", "e01", "e02"]
    assert rows["preview"].tolist() == [False, False, True, True, True]
    assert rows.loc["e00", "reason"] == "preview: fewer than two seeds in every task"
    assert rows.loc["e01", "reason"] == rows.loc["e02", "reason"] == "preview: fewer than two seeds in task3"
    assert rows.loc[rows["preview"], ["rank", "tier", "p_best", "p_best_tasks"]].isna().all(axis=None)
    assert rows[["score", "low", "high"]].notna().all(axis=None)
    assert rows.loc["e03", "rank"] == 1
    for name in ("e00", "e01", "e02"):
        against = ranking.differences(r, name, "e03")
        assert against["p"].isna().all()
        assert against[["difference", "low", "high"]].notna().all(axis=None)
    assert (r.p[:, :3] == 1).all()


def test_a_preview_moves_no_ranked_encoding():
    table = scores([0.7, 0.6, 0.5, 0.4], np.random.default_rng(7))
    single = table[table["encoding"].ne("e01") | table["seed"].eq(0)]
    of_three = ranking.rank(table[table["encoding"] != "e01"]).table.set_index("encoding")
    with_it = ranking.rank(single).table.set_index("encoding")
    columns = ["rank", "tier", "score", "advantage"]
    pd.testing.assert_frame_equal(with_it.loc[of_three.index, columns], of_three[columns])


def test_where_all_are_previews_nothing_is_ranked_and_no_interval_is_known():
    table = scores([0.9, 0.5, 0.1], np.random.default_rng(8), seeds=1)
    r = ranking.rank(table)
    assert r.one_seed
    assert r.table["encoding"].tolist() == ["e02", "e01", "e00"][::-1]
    assert r.table["preview"].all()
    assert r.table[["rank", "low", "high", "p_best"]].isna().all(axis=None)
    assert r.families[["low", "high"]].isna().all(axis=None)
    assert r.separated == 0
    assert ranking.differences(r, "e00", "e02")[["low", "high", "p"]].isna().all(axis=None)
    assert ranking.behind_leader(r).empty
    alone = ranking.rank(scores([0.5], np.random.default_rng(8), seeds=1)).table
    assert alone["preview"].tolist() == [True]


def test_a_score_without_spread_or_number_breaks_nothing():
    table = scores([0.6, 0.5, 0.4], np.random.default_rng(9))
    flat = table["task"] == "task0"
    table.loc[flat, ["value", "score"]] = 0.0
    table.loc[flat & (table["encoding"] == "e01") & (table["seed"] == 1), "score"] = np.nan
    r = ranking.rank(table)
    assert r.data.runs[1].tolist() == [2, 3, 3, 3]
    assert r.table["rank"].notna().all()
    assert np.isfinite(r.table[["score", "low", "high", "p_best"]].to_numpy(float)).all()
    assert ranking.differences(r, "e00", "e01").set_index("task").loc["task0", "p"] == pytest.approx(1.0)


def test_at_the_training_length_and_beyond_are_apart():
    table = scores([0.6, 0.4, 0.4], np.random.default_rng(10), own=0.01, harder=0.0)
    table.loc[table["phase"] == "beyond", ["value", "score"]] *= 0.5
    r = ranking.rank(table)
    at, beyond = (q.table.set_index("encoding")["score"] for q in (r.at_length, r.beyond))
    assert at["e00"] == pytest.approx(0.6, abs=0.1)
    assert beyond["e00"] == pytest.approx(0.3, abs=0.1)
    whole = r.table.set_index("encoding")["score"]
    assert whole["e00"] == pytest.approx((at["e00"] + 2 * beyond["e00"]) / 3)
    gap = ranking.differences(r, "e00", "e01", "at_length").set_index("task")["difference"]
    assert gap["all"] == pytest.approx(at["e00"] - at["e01"])
    # What lacks a length has no score beyond, rather than one of other lengths.
    short = ranking.rank(table[table["encoding"].ne("e01") | table["length"].lt(4)])
    assert np.isnan(short.beyond.table.set_index("encoding").loc["e01", "score"])
    assert short.at_length.table["score"].notna().all()
    # Without a known training length neither is known.
    unknown = ranking.rank(table.assign(phase=""))
    assert unknown.at_length.table["score"].isna().all()
    assert unknown.beyond.table["score"].isna().all()
    assert ranking.differences(unknown, "e00", "e01", "beyond").empty


@given(seed=st.integers(0, 10**6))
def test_differences_and_their_variances_are_those_of_least_squares(seed):
    """Whatever seeds each has: the two-way model's estimate, each run weighed by its variance, and that of it."""
    rng = np.random.default_rng(seed)
    encodings, seeds = rng.integers(2, 6), rng.integers(1, 5)
    score = np.where(rng.random((encodings, seeds)) < 0.6, rng.normal(size=(encodings, seeds)), np.nan)
    own = rng.uniform(0.5, 2.0, encodings)
    gap, added = ranking.freed(score, own)
    e, s = np.nonzero(np.isfinite(score))
    design = np.hstack([np.eye(encodings)[e], np.eye(seeds)[s]])
    root = np.sqrt(own[e])
    solve = np.linalg.pinv(design / root[:, None]) / root
    runs = np.isfinite(score).sum(axis=1)
    for a, b in itertools.permutations(range(encodings), 2):
        contrast = np.zeros(encodings + seeds)
        contrast[a], contrast[b] = 1, -1
        known = runs[a] and runs[b] and np.allclose(contrast @ solve @ design, contrast, atol=1e-6)
        assert np.isfinite(gap[a, b]) == known
        if known:
            line = contrast @ solve
            assert gap[a, b] == pytest.approx(line @ score[e, s], abs=1e-9)
            assert own[a] / runs[a] + own[b] / runs[b] + added[a, b] == pytest.approx(
                line**2 @ own[e], abs=1e-9
            )


def test_seeds_that_one_lacks_do_not_move_a_comparison():
    """A seed that is good to all raises nobody, and all seeds of the other count."""
    table = scores(np.full(10, 0.5), np.random.default_rng(18), own=0.0)
    table["score"] += 0.2 * (table["seed"] == 0)
    data = ranking.cells(table[table["encoding"].ne("e00") | table["seed"].eq(0)])
    r = ranking.pairs(data, ranking.within_tasks(data))
    assert np.abs(r.difference[0]).max() < 0.05
    assert r.seeds[0].tolist() == [1] * 10
    assert r.seeds[1, 2] == 3
    assert (r.runs[0, 1:] < r.per_seed[0, 1:]).all()  # less than two single runs vary


def test_tasks_may_have_different_numbers_of_seeds():
    """The variance of runs is found where there are several, and taken for the tasks that have one."""
    table = scores([0.6, 0.45, 0.3], np.random.default_rng(16), own=0.05)
    r = ranking.rank(table[(table["seed"] == 0) | table["task"].isin(["task0", "task1"])])
    assert r.data.runs.tolist() == [[3, 3, 1, 1]] * 3
    assert not r.one_seed
    one, three = r.parts[2], r.parts[0]
    assert one.own == pytest.approx(np.mean([r.parts[t].own for t in (0, 1)], axis=0))
    assert three.residual_df == pytest.approx(4)
    assert r.table["seeds"].tolist() == [1, 1, 1]
    assert r.table["preview"].all()
    halves = ranking.rank(table)
    width = [np.mean(x.table["high"] - x.table["low"]) for x in (r, halves)]
    assert width[0] > 1.2 * width[1]
    assert ranking.rank(table[table["seed"] == 0]).one_seed


def test_a_task_that_few_encodings_have_does_not_count_yet():
    table = scores(np.full(9, 0.5), np.random.default_rng(17))
    early = table[(table["task"] != "task3") | table["encoding"].isin(["e00", "e01"])]
    r = ranking.rank(early)
    assert r.data.tasks == ["task0", "task1", "task2"]
    assert r.table["coverage"].tolist() == pytest.approx([1.0] * 9)
    assert ranking.cells(table[(table["task"] != "task3") | (table["encoding"] < "e03")]).tasks[-1] == "task3"


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_in_a_better_tier_than_what_is_ahead_of_it(seed):
    """Three of eight encodings have two seeds: less is known of them, which must not lift them."""
    table = scores(np.linspace(0.35, 0.65, 8), np.random.default_rng(seed), own=0.06)
    few = table["encoding"].isin(["e01", "e04", "e06"])
    ranked = ranking.rank(table[~few | (table["seed"] < 2)]).table
    assert ranked["rank"].notna().all()
    in_order = ranked.sort_values("advantage", ascending=False)
    assert in_order["tier"].is_monotonic_increasing
    assert ranked["tier"].max() > 1


def test_one_encoding_alone_is_ranked_first():
    r = ranking.rank(scores([0.5], np.random.default_rng(7)))
    assert r.table["rank"].tolist() == [1]
    assert r.table["p_best"].tolist() == [1.0]
    assert r.table["low"][0] < r.table["score"][0] < r.table["high"][0]


def test_nothing_measured_is_an_empty_ranking():
    r = ranking.rank(score_table([]))
    assert r.table.empty
    assert r.families.empty


def test_a_paired_test_of_two_encodings_is_the_textbook_one():
    rng = np.random.default_rng(8)
    table = scores([0.55, 0.5], rng, seeds=6, tasks=1, own=0.2, common=0.0)
    data = ranking.cells(table)
    average = ranking.averages(data)[0]
    r = ranking.pairs(data, ranking.within_tasks(data))
    # Without test sampling, two encodings have one paired variance and nothing to moderate it with.
    data.noise[:] = 0.0
    exact = ranking.pairs(data, ranking.within_tasks(data))
    expected = stats.ttest_rel(average[0], average[1])
    assert exact.difference[0, 1] == pytest.approx((average[0] - average[1]).mean())
    assert exact.p[0, 1] == pytest.approx(expected.pvalue)
    assert r.p[0, 1] > exact.p[0, 1]  # the sampling of the test answers only adds doubt


def test_variances_are_moderated_with_the_weight_of_the_paper():
    # Formulas of Smyth (2004), section 6.2, with the root found by bisection.
    rng = np.random.default_rng(9)
    df = np.full(50, 4.0)
    variance = rng.chisquare(4, 50) / 4 * rng.gamma(1.5, 1, 50)
    e = np.log(variance) - special.digamma(2) + np.log(2)
    target = e.var(ddof=1) - special.polygamma(1, 2)
    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if special.polygamma(1, middle) > target else (low, middle)
    d0 = 2 * low
    m = variance.mean() + stats.sem(variance)  # ours, in the place of the paper's s0
    moderated, total, _ = ranking.moderate(variance, df)
    assert moderated == pytest.approx((d0 * m + 4 * variance) / (d0 + 4))
    assert total == pytest.approx(np.full(50, d0 + 4))


def test_a_variance_without_a_sample_is_the_mean_and_its_error():
    known = np.array([0.1, 1.0, 10.0, 0.3, 3.0])
    moderated, df, borrowed = ranking.moderate(np.append(known, np.nan), np.append(np.full(5, 2.0), 0.0))
    assert moderated[-1] == pytest.approx(known.mean() + stats.sem(known))
    assert df[-1] == pytest.approx(2 * (known.mean() / stats.sem(known)) ** 2)
    assert borrowed[-1] ** 2 == pytest.approx(moderated[-1] ** 2 / df[-1])
    one, few, _ = ranking.moderate(np.array([2.0, np.nan]), np.array([1.0, 0.0]))
    assert one[1] == pytest.approx(2.0 * (1 + 2**0.5))  # one variance of two seeds is known that badly
    assert few[1] == pytest.approx(1.0)


def test_equal_variances_are_pooled():
    moderated, df, borrowed = ranking.moderate(np.array([1.0, 1.1, 0.9]), np.full(3, 2.0))
    assert moderated == pytest.approx(np.ones(3))
    assert df == pytest.approx(np.full(3, 6.0))
    assert borrowed**2 == pytest.approx(moderated**2 / df)  # all of what is known is known of all alike


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_the_stepwise_rule(p):
    """Reject in order while p < level / (tests left), as in the paper, for any level."""
    adjusted = ranking.holm(np.array(p))
    for level in (0.01, 0.05, 0.3):
        rejected = 0
        for k, value in enumerate(sorted(p)):
            if value * (len(p) - k) >= level:
                break
            rejected += 1
        assert (adjusted < level).sum() == rejected
    assert (adjusted >= np.array(p)).all()


@patch(
    "gc.collect", lambda: 0
)  # which statsmodels calls each time: half a second in a process that has all tests
@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_that_of_statsmodels(p):
    assert ranking.holm(np.array(p)) == pytest.approx(multipletests(p, method="holm")[1])


def test_a_tier_is_what_its_leader_is_not_separable_from():
    p = np.ones((4, 4))
    for a, b in ((0, 2), (0, 3), (1, 3)):
        p[a, b] = p[b, a] = 0.01
    assert ranking.tiers(range(4), p) == {0: 1, 1: 1, 2: 2, 3: 2}
    p[0, 3] = p[3, 0] = 1.0  # what is behind a leader stays behind, though not separable from the first
    assert ranking.tiers(range(4), p) == {0: 1, 1: 1, 2: 2, 3: 2}


def test_a_tier_is_led_by_one_of_whom_more_is_known():
    p = np.ones((4, 4))
    p[1, 2] = p[2, 1] = p[1, 3] = p[3, 1] = 0.01  # nothing is separable from the first
    known = np.array([False, True, True, True])
    assert ranking.tiers(range(4), p) == {0: 1, 1: 1, 2: 1, 3: 1}
    assert ranking.tiers(range(4), p, known) == {0: 1, 1: 1, 2: 2, 3: 2}
    assert ranking.tiers(range(4), p, ~known) == {0: 1, 1: 1, 2: 1, 3: 1}
    p[0, 1] = p[1, 0] = 0.01  # the first is above all others after all
    assert ranking.tiers(range(4), p, known) == {0: 1, 1: 2, 2: 3, 3: 3}


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(5)))
def test_the_ranking_does_not_depend_on_the_order_of_the_rows(order):
    table = scores([0.6, 0.5, 0.4, 0.3, 0.2], np.random.default_rng(10), tasks=2, lengths=2)
    shuffled = pd.concat([table[table["encoding"] == f"e0{n}"] for n in order])
    pd.testing.assert_frame_equal(ranking.rank(table).table, ranking.rank(shuffled).table)


def test_sampling_error_of_a_share_is_binomial_and_never_zero():
    rows = pd.DataFrame(
        {
            "metric": ["exact", "exact", "bits_per_byte"],
            "value": [0.5, 1.0, 2.0],
            "n": [400, 100, 10_000],
            "floor": [0.0, 0.5, 5.0],
            "ceiling": [1.0, 1.0, 1.0],
        }
    )
    half, all_right, bits = ranking.sampling_error(rows)
    assert half == pytest.approx(0.5 / 20)
    assert all_right == pytest.approx(np.sqrt(100.5 * 0.5) / 101 / 10 / 0.5)
    assert bits == pytest.approx(2 / 100 / 4)


def test_parts_of_an_answer_are_no_answers_of_their_own():
    digits = scores([0.6, 0.5], np.random.default_rng(18)).assign(n=9 * ANSWERS)
    whole = digits.assign(
        metric="per_token", score=np.nan, n=ANSWERS
    )  # not scored, but says how many were asked
    few, many = (ranking.cells(table).noise for table in (pd.concat([digits, whole]), digits))
    assert few == pytest.approx(3 * many, rel=0.01)


def test_comparisons_name_the_difference_per_task_with_intervals():
    r = ranking.rank(score_table(Sweep({"fox": 6.0, "rope": 1.0, "alibi": 4.0}).records()))
    table = ranking.differences(r, "fox", "rope")
    assert table["task"].tolist() == ["all", "copy", "language", "needle"]
    assert (table["low"] > 0).all()
    mirrored = ranking.differences(r, "rope", "fox")
    assert mirrored["difference"].to_numpy() == pytest.approx(-table["difference"].to_numpy())


def test_more_seeds_separate_neighbours_as_promised():
    variance, difference = 0.02**2, 0.02
    seeds = ranking.seeds_needed(difference, variance)
    rng = np.random.default_rng(11)
    gaps = rng.normal(difference, 0.02, (4000, seeds)).mean(axis=1) / (0.02 / np.sqrt(seeds))
    assert (np.abs(gaps) > stats.norm.isf(0.025)).mean() == pytest.approx(0.8, abs=0.05)
    assert ranking.seeds_needed(0.0, variance) is None
    assert ranking.seeds_needed(1e-9, variance) is None
    assert ranking.seeds_needed(difference, variance, test=variance / 8) > seeds
    assert (
        ranking.seeds_needed(difference, variance, test=difference**2) is None
    )  # the test itself is too small


def test_other_aggregations_agree_where_one_encoding_wins_everything():
    r = ranking.rank(score_table(Sweep({"fox": 9.0, "alibi": 3.0, "rope": 0.5}, seed_spread=0.0).records()))
    orders = ranking.other_orders(r)
    assert list(orders.columns) == [
        *("this board", "standardised", "median rank", "mean rank", "reciprocal rank", "Borda"),
        *("without copying", "without language", "without needle"),
    ]
    for column in orders:
        assert orders[column].to_dict() == {"fox": 1, "alibi": 2, "rope": 3}


def test_the_critical_difference_is_that_of_the_published_table():
    # Demsar (2006), table 5(a): q at 0.05 for 5 and 10 classifiers.
    for count, q in ((5, 2.728), (10, 3.164)):
        expected = q * np.sqrt(count * (count + 1) / (6 * 14))
        assert ranking.critical_difference(count, 14) == pytest.approx(expected, rel=1e-3)


def test_mean_ranks_are_compared_as_in_the_published_example():
    # Demsar (2006), section 3.2.2 and table 6: four classifiers on 14 data sets.
    auc = pd.DataFrame(
        {
            "C4.5": ".763 .599 .954 .628 .882 .936 .661 .583 .775 1.0 .940 .619 .972 .957",
            "C4.5+m": ".768 .591 .971 .661 .888 .931 .668 .583 .838 1.0 .962 .666 .981 .978",
            "C4.5+cf": ".771 .590 .968 .654 .886 .916 .609 .563 .866 1.0 .965 .614 .9751 .946",
            "C4.5+m+cf": ".798 .569 .967 .657 .898 .931 .685 .625 .875 1.0 .962 .669 .975 .970",
        }.items()
    ).set_index(0)[1].str.split(expand=True).astype(float)  # fmt: skip
    ranks = auc.rank(ascending=False).mean(axis=1).sort_values()
    assert ranks.round(3).to_dict() == {"C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143}
    # The paper's 9.28 has no correction for ties; with it, as in scipy, the p-value is somewhat lower.
    plain = 12 * 14 / (4 * 5) * ((ranks**2).sum() - 4 * 25 / 4)
    assert plain == pytest.approx(9.28, abs=0.01)
    assert 0.5 * stats.chi2.sf(plain, 3) < ranking.friedman(auc) < stats.chi2.sf(plain, 3)
    distance = ranking.critical_difference(4, 14)
    assert distance == pytest.approx(1.25, abs=0.01)
    assert ranking.cliques(list(ranks), distance) == [(0, 3)]
    assert ranking.cliques(list(ranks), 1.0) == [(0, 2), (2, 3)]
    assert np.isnan(ranking.friedman(auc.head(2)))
    assert np.isnan(ranking.friedman(auc * 0.0))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1, 9), min_size=1, max_size=9), st.floats(0.1, 5))
def test_cliques_are_all_the_largest_groups_within_the_distance(ranks, distance):
    ranks = sorted(ranks)
    near = {
        (i, j) for i in range(len(ranks)) for j in range(i + 1, len(ranks)) if ranks[j] - ranks[i] <= distance
    }
    largest = {(i, j) for i, j in near if not near & {(i - 1, j), (i, j + 1)}}
    assert set(ranking.cliques(ranks, distance)) == largest


def test_agreement_is_kendalls_and_names_the_leader():
    orders = pd.DataFrame(
        {
            "this board": [1, 2, 3, 4],
            "same": [1, 2, 3, 4],
            "opposite": [4, 3, 2, 1],
            "one swap": [1, 2, 4, 3],
        },
        index=["a", "b", "c", "d"],
    )
    table = ranking.agreement(orders).set_index("order")
    assert table["tau"].to_dict() == pytest.approx({"same": 1.0, "opposite": -1.0, "one swap": 2 / 3})
    assert table["leader"].to_dict() == {"same": "a", "opposite": "d", "one swap": "a"}
    assert table["moves"].to_dict() == {"same": 0, "opposite": 3, "one swap": 1}


def test_the_gate_does_not_count():
    sweep = Sweep({"rope": 1.0})
    gate = Row("gate", 1.0, 10, floor=0.0, ceiling=1.0)
    table = score_table([sweep.record("rope", "copy", 0, (gate, Row("exact", 0.5, 10, {}, 0.0, 1.0)))])
    assert table.set_index("metric")["score"].isna().to_dict() == {"gate": True, "exact": False}


def test_seeds_of_different_code_are_stale():
    runs = run_table(Sweep(SKILL, seeds=2).records())
    assert not runs["stale"].any()
    runs = run_table([_with_fingerprint(r) for r in Sweep({"rope": 1.0}, seeds=2).records()])
    assert set(runs.loc[runs["stale"], "task"]) == {"copy", "needle", "language"}


def _with_fingerprint(record):
    return type(record)(**{**vars(record), "fingerprint": f"{record.seed:016x}"})


def test_a_board_of_the_planned_size_is_ranked_in_seconds():
    """40 encodings, 12 tasks, 5 seeds, 50 conditions; a second on a free machine."""
    table = scores(np.linspace(0.3, 0.7, 40), np.random.default_rng(12), seeds=5, tasks=12, lengths=50)
    begin = time.process_time()
    r = ranking.rank(table)
    assert time.process_time() - begin < 10
    assert r.table["rank"].notna().all()
    assert r.table["encoding"][0] == "e39"


def test_sampling_error_of_a_log_error_is_that_of_its_count():
    reads, n = 1399, 256
    ceiling = -np.log10(0.5 / (reads + 1))
    values = [-np.log10((wrong + 0.5) / (reads + 1)) for wrong in (1, 40, 1000)]
    rows = pd.DataFrame({"metric": "log_error", "value": values, "n": n, "floor": 0.0, "ceiling": ceiling})
    errors = ranking.sampling_error(rows) * ceiling
    rng = np.random.default_rng(0)
    for wrong, error in zip((1, 40), errors, strict=False):
        drawn = -np.log10((rng.poisson(wrong, 100_000) + 0.5) / (reads + 1))
        assert error == pytest.approx(drawn.std(), rel=0.35)
    assert errors[2] == pytest.approx(1 / np.log(10) / np.sqrt(n + 0.5))  # one error of a sequence counts


def test_bits_of_one_condition_keep_their_own_numbers_of_bytes():
    rows = [
        {"metric": "bits_per_byte", "n": 131_072, "score": 0.5},
        {"metric": "bits_last", "n": 2048, "score": 0.5},
    ]
    table = pd.DataFrame(
        [
            {
                **row, "encoding": name, "seed": seed, "task": "language_ends", "task_family": "language",
                "condition": "length 4096", "length": 4096.0, "phase": "beyond",
                "value": 2.0, "floor": 4.0, "ceiling": 0.0,
            }
            for row in rows for name in ("a", "b") for seed in (0, 1)
        ]
    )  # fmt: skip
    data = ranking.cells(table)
    noise = dict(zip(data.names["metric"], data.noise[0, 0], strict=True))
    assert noise["bits_per_byte"] == pytest.approx(0.5 / np.sqrt(131_072))
    assert noise["bits_last"] == pytest.approx(0.5 / np.sqrt(2048))


def test_a_tier_ends_where_its_best_beats_a_row_that_its_leader_does_not():
    """The leader has more seeds than the others, and they differ so much that no test separates it from anything."""
    p = np.ones((4, 4))
    p[0, 2] = p[0, 3] = 0.001
    assert ranking.tiers(range(4), p, np.array([False, True, False, False])) == {0: 1, 1: 1, 2: 2, 3: 2}


def test_a_row_that_beats_its_leader_is_in_its_tier():
    """The order follows the advantage over all rows; on the conditions of both the second may be ahead."""
    p = np.ones((2, 2))
    p[1, 0] = 0.001
    assert ranking.tiers(range(2), p) == {0: 1, 1: 1}


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9))
def test_tau_is_that_of_scipy(pairs):
    a, b = np.array(pairs, float).T
    theirs = stats.kendalltau(a, b).statistic
    assert ranking.tau(a, b) == pytest.approx(theirs, nan_ok=True)
