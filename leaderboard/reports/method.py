"""The page "how ranks work": written here once, generated into docs/ranks.md, and shown by the app."""

from pebench.leaderboard import ranking
from pebench.leaderboard.ranking.resampling import FEWEST

METHOD = f"""
1. **One scale.** Every answer is scored between the best score *without reading the input* (0) and an oracle's
   score (1), under the same condition.
2. **Equal weights.** Scores are averaged over the conditions of a length, for example the depths of a needle. Then
   they are averaged over lengths, over the tasks of a family, and over families. Speed is shown beside and never
   mixed in.
3. **Pairs.** All encodings train on the same batches from the same weights, seed by seed. They are compared seed by
   seed within each task, and only on conditions that both have. Where an encoding lacks seeds, the effect of each
   seed is estimated by least squares from the encodings that have it, and removed.
4. **Missing is never zero.** A length at which an encoding is not defined is missing, and *coverage* shows it. A rank
   needs a result in every family, {ranking.MIN_COVERAGE:.0%} of the conditions, and {ranking.FEWEST} seeds in every
   task. A row with fewer seeds is a *preview*: it has a score and no rank. The order follows the mean advantage over
   all others.
5. **Two quantities.** The score averages all lengths that a task is scored at. The score at the training length L and
   the score beyond L also stand apart. Some tasks have none at L.
6. **Intervals.** The 95 % confidence interval covers three parts for each task: the effect of a seed on all
   encodings, the variation of single runs, and the sampling of test answers. P(best) is the share of
   {ranking.DRAWS} draws of these parts in which an encoding has the largest advantage. A run that diverged counts as
   missing, and is named.
7. **Few seeds.** Three seeds say little about the variance of an encoding. Its estimate is shrunk towards the mean of
   all encodings plus its standard error, by as much as their variances agree (Smyth, 2004). It never falls below the
   encoding's own. A preview gets that mean. Where every encoding has one seed there is no interval.
8. **Test sampling.** A share of n answers is binomial. Bits per byte are a mean of n terms that vary as much as their
   mean. The log of an error rate varies as its count of wrong reads, at most one of each sequence. All encodings and
   seeds answer the same test items, so more seeds do not reduce this part.
9. **Tiers.** The best encoding begins the first tier. From the best down, the first encoding that the tier's best or
   its leader beats in a paired t-test begins the next tier. The test is at {ranking.LEVEL:.0%}, after Holm's
   correction over *all* pairs, because both are chosen after looking. The leader is the tier's best with the full
   number of seeds, unless it is separable from an encoding ahead of it. Encodings of a tier share a rank.
10. **Certificate.** An encoding that fails a check is listed with its numbers and gets no rank. Checks are, for
    example, that it does not see the future and that cached decoding equals the full forward.
11. **Gate.** *Learned* is the share of runs that pass the task's gate on the training distribution. Length curves
    leave out the others: a model that did not learn the task has nothing to extrapolate. The score counts all runs.
12. **Tasks are a sample too.** P(best) *by tasks* also draws the tasks anew, within their families. A separated pair
    does not survive another choice of tasks if 0 lies within 95 % of these draws. A family of one task borrows the
    deviations of the other families' tasks. Where fewer than two families have two tasks, whole families are drawn
    instead, if there are {FEWEST} or more.
13. **Influence.** Equal weights are not equal influence: families with larger differences decide more. The board's
    notes print each family's share of the variance. Other orders: `pebench board --order standardised`, and
    `median-rank`. Each has the intervals and P(best) of the same draws, and a note gives its agreement with the mean.
    Ranks keep to the mean: a row's mean stays as it is when another encoding joins the board, and its standardised
    score does not. The columns *learns*, *at L*, *beyond* and *keeps* order the rows as well: `--order keeps`.
14. **Processors.** Another kind of processor rounds differently and trains another model from the same seed. A record
    is *verified* if it came out equal or within tolerance, or, on another kind, within seed spread.
"""
