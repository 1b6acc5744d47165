"""How much runs vary: the variance of a run in each task, moderated over encodings, and draws of what others give."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from pebench.leaderboard.ranking.scores import Array, Cells, Mask, averages, row_means

DRAWS = 4000
LEVEL = 0.05
LEAST = 1e-8  # smallest variance of a run's score; models that all answer nothing have none of their own
KNOWN = 1e9  # degrees of freedom of a variance that is no estimate


@dataclass(frozen=True)
class Spread:
    """Statistics of the average scores of one task, all (E,) but where it says otherwise."""

    mean: Array
    own: Array  # moderated variance of a single run
    df: Array  # how well that is known
    borrowed: Array  # the part of it that is an estimate from all encodings, over the root of that one's df
    test: Array  # variance of the test sampling
    has: Mask  # (E, S)
    common: float  # variance of what a seed does to all encodings alike
    common_df: float
    residual_df: float  # of all encodings' variances together; 0 where none has two seeds
    alike: Array  # the encodings of this task that read trainings of one encoding, itself among them


def spread(score: Array, noise: Array, trained: list[str]) -> Spread:
    """Split scores (E, S) of one task, NaN where missing, into the parts of the model above.

    `trained` names what each encoding trained, as `Cells.trained`. Encodings that read one training vary together, so
    what all encodings share is estimated from one of each: the first with two seeds. Where all read one, all count.
    """
    has = np.isfinite(score)
    seeds = has.sum(axis=1)
    some = seeds > 1
    counts = first_of_each(trained, some)
    counts = some if counts.sum() == 1 else counts
    mean = row_means(score)
    rest = np.where(some[:, None], score - mean[:, None], np.nan)
    # The common part cannot be told from an encoding's own where only one encoding has the seed.
    shared = np.isfinite(rest[counts]).sum(axis=0) > 1
    common = np.where(shared, row_means(rest[counts].T), 0.0)
    common_df = max(int(shared.sum()) - 1, 0)
    rest = rest - common
    rest = rest - row_means(rest)[:, None]
    test = np.maximum(np.nan_to_num(row_means(noise)), LEAST)
    # One (E-1)/E-th of the S-1 degrees of freedom is left after the common part.
    left = (counts.sum() - 1) / counts.sum() if counts.sum() > 1 else 1.0
    df = np.where(some, (seeds - 1) * left, 0.0)
    own = np.full(len(score), np.nan)
    own[some] = np.nansum(rest[some] ** 2, axis=1) / df[some]
    own[some] = np.maximum(own[some], test[some])  # runs differ at least by their answers
    variance, posterior_df, borrowed = moderate(own, df, counts)
    # Never less than the encoding's own seeds show: a bistable one must not borrow the others' calm.
    variance = np.fmax(variance, own)
    between = max(float((common**2).sum() / common_df), LEAST) if common_df else 0.0
    _, group, size = np.unique(np.where(seeds > 0, trained, ""), return_inverse=True, return_counts=True)
    residual_df = float(df[counts].sum())
    return Spread(
        mean,
        variance,
        posterior_df,
        borrowed,
        test,
        has,
        between,
        common_df,
        residual_df,
        size[group].astype(float),
    )


def first_of_each(trained: list[str], some: Mask) -> Mask:
    """A mask (E,) with one encoding of each training: the first that `some` (E,) marks.

    >>> first_of_each(["rope", "fox", "rope", "rope"], np.array([False, True, True, True])).tolist()
    [False, True, True, False]
    """
    at = np.flatnonzero(some)
    first = np.zeros(len(trained), bool)
    first[at[np.unique(np.array(trained, str)[at], return_index=True)[1]]] = True
    return first


def within_tasks(data: Cells) -> list[Spread]:
    """Statistics of the scores of each task.

    What a seed does to all encodings is estimated from a few numbers in each task, so these variances are
    moderated over the tasks. A task in which no encoding has two seeds says nothing of how its runs vary. It is
    taken to vary as the others do in the mean. Where no task says it, runs count as if they did not vary, and the
    board tells so.
    """
    parts = [spread(*averages(data, data.of_task(t)), data.trained) for t in range(len(data.tasks))]
    known = [part for part in parts if part.residual_df]
    if not known:
        return parts
    own, df = np.mean([part.own for part in known], axis=0), np.min([part.df for part in known], axis=0)
    elsewhere = {"own": own, "df": df, "borrowed": own / np.sqrt(df)}
    parts = [part if part.residual_df else replace(part, **elsewhere) for part in parts]
    common, common_df, _ = moderate(*np.array([(part.common, part.common_df) for part in parts]).T)
    between = zip(common.tolist(), common_df.tolist(), strict=True)
    return [replace(p, common=c, common_df=n) for p, (c, n) in zip(parts, between, strict=True)]


def moderate(variance: Array, df: Array, counts: Mask | None = None) -> tuple[Array, Array, Array]:
    """Shrink sample variances towards a common value by as much as they agree (Smyth, 2004, section 6.2).

    The common value is of the variances in the mask `counts`, by default of all.
    The weight of that value is the paper's d0. Where variances differ more than equal populations would, the value
    is not the paper's s0, a geometric kind of mean. Variances differ tenfold between encodings, so s0 would be 2
    to 12 times too small for a variance without a sample (df 0). It is the mean of the known variances plus the
    standard error of that mean.

    Returns variances and their degrees of freedom, which never exceed the pooled ones. The third is
    each variance's part from the common value, over the root of that one's degrees of freedom. The errors of two
    variances have the product of these as covariance, where the square of one over its df is a variance. Where no
    variance is known all are zero, and KNOWN.
    """
    known = df > 0
    told = known if counts is None else known & counts
    if not told.any():
        return np.zeros_like(df), np.full_like(df, KNOWN), np.zeros_like(df)
    s2, d = variance[told], df[told]
    level = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
    excess = (level.var(ddof=1) if len(level) > 1 else 0.0) - special.polygamma(1, d / 2).mean()
    own, total = np.where(known, variance, 0.0), d.sum()
    between = s2.std(ddof=1) / np.sqrt(len(s2)) if len(s2) > 1 else 0.0
    unsure = max(between, s2.mean() * np.sqrt(2 / total))
    cautious, cautious_df = s2.mean() + unsure, 2 * (s2.mean() / unsure) ** 2
    if excess > 1e-6:
        prior, prior_df = cautious, 2 * inverse_trigamma(excess)
    else:  # the variances differ no more than those of equal populations
        prior, prior_df = (s2 * d).sum() / total, KNOWN
    shrunk = (prior_df * prior + df * own) / (prior_df + df)
    shared = prior_df * prior / (prior_df + df) / np.sqrt(total)
    return (
        np.where(known, shrunk, cautious),
        np.where(known, np.minimum(prior_df + df, total), cautious_df),
        np.where(known, shared, cautious / np.sqrt(cautious_df)),
    )


def inverse_trigamma(y: float) -> float:
    """The x > 0 with trigamma(x) = y, by Newton's method on 1/trigamma, which is nearly linear.

    >>> round(inverse_trigamma(float(special.polygamma(1, 2.5))), 9)
    2.5
    """
    x = 0.5 + 1 / y
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / y) / special.polygamma(2, x)
        x += step
        if abs(step) < 1e-10 * x:
            break
    return float(x)


def draws(s: Spread, chosen: Mask, rng: np.random.Generator, count: int = DRAWS) -> Array:
    """Draws (chosen, count) of the errors of average scores of one task: a parametric bootstrap, paired by seed.

    Each draw takes anew what a seed does to all encodings, what a run has of its own (both t-distributed in the end,
    as their variances are estimates), and the test sampling.
    """
    has = s.has[chosen]
    encodings, seeds = has.shape
    n = np.maximum(has.sum(axis=1), 1)
    common = np.zeros((encodings, count))
    if s.common:
        deviation = np.sqrt(s.common * s.common_df / rng.chisquare(s.common_df, count))
        common = has / n[:, None] @ (deviation * rng.standard_normal((seeds, count)))
    own = np.sqrt(s.own[chosen] / n)[:, None] * rng.standard_t(s.df[chosen][:, None], (encodings, count))
    return common + own + np.sqrt(s.test[chosen])[:, None] * rng.standard_normal((encodings, count))


def averaged(parts: list[Spread], share: Array) -> tuple[Array, Array, Array]:
    """Averages over tasks with these weights (E, T), and the ends of their 95 % confidence intervals; each (E,).

    The model's variance has three parts: the seeds' common part, the runs' own, and the test items. Estimated variances
    make the interval one of Student's t, with Welch's and Satterthwaite's degrees of freedom. No score is below the
    floor or above the oracle's.
    """
    mean, variance, doubt = np.zeros((3, len(share)))
    for part, weight in zip(parts, share.T, strict=True):
        n = np.maximum(part.has.sum(axis=1), 1)
        common, own = weight**2 * part.common / n, weight**2 * part.own / n
        known = np.maximum(part.df, 1e-9)
        mean += weight * np.nan_to_num(part.mean)
        variance += np.nan_to_num(common + own + weight**2 * part.test)
        doubt += np.nan_to_num(own**2 / known) + (common**2 / part.common_df if part.common_df else 0.0)
    df = np.divide(variance**2, doubt, out=np.full_like(doubt, KNOWN), where=doubt > 0)
    half = np.sqrt(variance) * special.stdtrit(df, 1 - LEVEL / 2)
    return mean, (mean - half).clip(0.0, 1.0), (mean + half).clip(0.0, 1.0)
