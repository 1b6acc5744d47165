"""How a rank comes about: scores averaged with equal weights, compared in pairs, sorted into tiers.

The page of formulas. Letters: E encodings, S seeds, T tasks, C cells; a cell is one metric of one task under one
condition. The modules, in the order of use:

`scores`, the average. A row's score is x = (value - floor) / (ceiling - floor): 0 without reading the input, 1 for an
oracle. With the weight w of a cell, equal for families, then tasks, lengths and conditions, an encoding's score is

    score[e] = sum over cells of w[c] * mean over seeds of x[e, s, c].

A score that was not measured is NaN, never zero: two encodings are compared on the cells that both have. `at_length`
averages only cells at the task's training length, `beyond` only longer ones. An encoding that lacks one of the cells
of a quantity has none.

`variances`, the model. Each task trains models of its own, so runs of different tasks are independent. In one task

    x[e, s] = mean[e] + common[s] + own[e, s] + test[e],

with `common` the part that a seed's batches and weights share among all encodings, `own` the part of a run alone, and
`test` the sampling of the test items, equal for all seeds. Least squares remove `common` from every comparison. The
variance of `own` with d degrees of freedom and sample value s2 is moderated (Smyth, 2004, "Linear models and
empirical Bayes methods", section 6.2),

    own[e] = max(s2, (d0 * m + d * s2) / (d0 + d)),

with the paper's d0 and m the mean over encodings of s2 plus the standard error of that mean; it is never below `test`.
An encoding with one seed has d = 0, so its variance is m. Extensions of one encoding (`rope@pi`, `rope@yarn`) read one
training and vary together: of an encoding and its extensions one row counts for `common`, d0 and m.

The interval of a score is mean -+ t * sqrt(common / S + own[e] / S + test[e]), weighed and summed over tasks, with the
degrees of freedom of Welch and Satterthwaite.

`comparisons`, the test. For a pair, t = difference / sqrt(own[a] / S[a] + own[b] / S[b] + test[a] + test[b]), with
Welch's and Satterthwaite's degrees of freedom, and Holm's correction over all pairs of ranked encodings.

`tiering`, the tiers. From the best down, the first encoding that is separated from a tier's leader begins the next.

`ranks`, the result. A rank, a tier, P(best) and a p-value need two seeds (FEWEST) in every task that counts. An
encoding with fewer is a preview: it has a score and no place. P(best) is the share of draws with the largest score:
`p_best` draws seeds and test items anew, `p_best_tasks` tasks as well.

`resampling`, tasks as a sample. Tasks are drawn anew within families; a separated pair whose difference changes sign
within 95 % of these draws does not survive another choice of tasks.

`orders`, other aggregates. Standardised scores and median rank, both with intervals and P(best), mean rank and others,
and each family's share of the variance between scores.
"""

from pebench.leaderboard.ranking.comparisons import FEWEST as FEWEST
from pebench.leaderboard.ranking.comparisons import Pairs as Pairs
from pebench.leaderboard.ranking.comparisons import corrected as corrected
from pebench.leaderboard.ranking.comparisons import freed as freed
from pebench.leaderboard.ranking.comparisons import holm as holm
from pebench.leaderboard.ranking.comparisons import one_model as one_model
from pebench.leaderboard.ranking.comparisons import pairs as pairs
from pebench.leaderboard.ranking.comparisons import seeds_needed as seeds_needed
from pebench.leaderboard.ranking.orders import ORDERS as ORDERS
from pebench.leaderboard.ranking.orders import aggregates as aggregates
from pebench.leaderboard.ranking.orders import agreement as agreement
from pebench.leaderboard.ranking.orders import cliques as cliques
from pebench.leaderboard.ranking.orders import critical_difference as critical_difference
from pebench.leaderboard.ranking.orders import family_scores as family_scores
from pebench.leaderboard.ranking.orders import friedman as friedman
from pebench.leaderboard.ranking.orders import influence as influence
from pebench.leaderboard.ranking.orders import other_orders as other_orders
from pebench.leaderboard.ranking.orders import places as places
from pebench.leaderboard.ranking.orders import task_scores as task_scores
from pebench.leaderboard.ranking.orders import tau as tau
from pebench.leaderboard.ranking.orders import whole as whole
from pebench.leaderboard.ranking.ranks import MIN_COVERAGE as MIN_COVERAGE
from pebench.leaderboard.ranking.ranks import PREVIEW as PREVIEW
from pebench.leaderboard.ranking.ranks import QUANTITIES as QUANTITIES
from pebench.leaderboard.ranking.ranks import WHOLE as WHOLE
from pebench.leaderboard.ranking.ranks import Quantity as Quantity
from pebench.leaderboard.ranking.ranks import Ranking as Ranking
from pebench.leaderboard.ranking.ranks import behind_leader as behind_leader
from pebench.leaderboard.ranking.ranks import differences as differences
from pebench.leaderboard.ranking.ranks import rank as rank
from pebench.leaderboard.ranking.ranks import without_p as without_p
from pebench.leaderboard.ranking.resampling import TaskDraws as TaskDraws
from pebench.leaderboard.ranking.resampling import task_draws as task_draws
from pebench.leaderboard.ranking.scores import MIN_SHARE as MIN_SHARE
from pebench.leaderboard.ranking.scores import NESTING as NESTING
from pebench.leaderboard.ranking.scores import Array as Array
from pebench.leaderboard.ranking.scores import Cells as Cells
from pebench.leaderboard.ranking.scores import averages as averages
from pebench.leaderboard.ranking.scores import cells as cells
from pebench.leaderboard.ranking.scores import only as only
from pebench.leaderboard.ranking.scores import sampling_error as sampling_error
from pebench.leaderboard.ranking.scores import weights as weights
from pebench.leaderboard.ranking.tiering import tiers as tiers
from pebench.leaderboard.ranking.variances import DRAWS as DRAWS
from pebench.leaderboard.ranking.variances import LEVEL as LEVEL
from pebench.leaderboard.ranking.variances import Spread as Spread
from pebench.leaderboard.ranking.variances import averaged as averaged
from pebench.leaderboard.ranking.variances import draws as draws
from pebench.leaderboard.ranking.variances import inverse_trigamma as inverse_trigamma
from pebench.leaderboard.ranking.variances import moderate as moderate
from pebench.leaderboard.ranking.variances import within_tasks as within_tasks
