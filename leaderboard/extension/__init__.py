"""The board of the track EXTEND: methods of context extension on a pretrained model.

Its rows are methods, no encodings, so it has no ranks. Loss and retrieval, at the training length and beyond it, are
four quantities, each with its interval and its difference from the unextended model on the same texts. Losses have
Student's intervals over texts. Found numbers have the intervals of `shares`.

The modules, in the order of use: `records` reads the track's records; `quantities` and `shares` have the statistics;
`board` has the types, `notes` the caveats, and `make` makes the boards; `parts` splits the numbers by length and kind;
`remarks`, `tables` and `summary` say and show them.
"""

from pebench.leaderboard.extension.board import PLANS as PLANS
from pebench.leaderboard.extension.board import Line as Line
from pebench.leaderboard.extension.board import Track as Track
from pebench.leaderboard.extension.make import make_tracks as make_tracks
from pebench.leaderboard.extension.make import places as places
from pebench.leaderboard.extension.make import profiles as profiles
from pebench.leaderboard.extension.make import track as track
from pebench.leaderboard.extension.make import tracks_of as tracks_of
from pebench.leaderboard.extension.parts import ALL as ALL
from pebench.leaderboard.extension.parts import KINDS as KINDS
from pebench.leaderboard.extension.parts import by_kind as by_kind
from pebench.leaderboard.extension.parts import cost_frame as cost_frame
from pebench.leaderboard.extension.parts import levels_by_length as levels_by_length
from pebench.leaderboard.extension.parts import losses_by_method as losses_by_method
from pebench.leaderboard.extension.parts import retrieval_by_length as retrieval_by_length
from pebench.leaderboard.extension.quantities import PHASES as PHASES
from pebench.leaderboard.extension.quantities import Found as Found
from pebench.leaderboard.extension.quantities import Quantity as Quantity
from pebench.leaderboard.extension.quantities import found_by_phase as found_by_phase
from pebench.leaderboard.extension.quantities import in_phase as in_phase
from pebench.leaderboard.extension.quantities import loss_quantities as loss_quantities
from pebench.leaderboard.extension.quantities import means_by_method as means_by_method
from pebench.leaderboard.extension.quantities import retrieval_quantities as retrieval_quantities
from pebench.leaderboard.extension.quantities import student as student
from pebench.leaderboard.extension.quantities import texts_of as texts_of
from pebench.leaderboard.extension.records import BASE as BASE
from pebench.leaderboard.extension.records import COST as COST
from pebench.leaderboard.extension.records import FULL as FULL
from pebench.leaderboard.extension.records import LOSS as LOSS
from pebench.leaderboard.extension.records import RETRIEVAL as RETRIEVAL
from pebench.leaderboard.extension.records import is_pretrained as is_pretrained
from pebench.leaderboard.extension.records import is_track as is_track
from pebench.leaderboard.extension.records import latest as latest
from pebench.leaderboard.extension.records import pretrained as pretrained
from pebench.leaderboard.extension.records import subject_of as subject_of
from pebench.leaderboard.extension.remarks import on_costs as on_costs
from pebench.leaderboard.extension.remarks import telling as telling
from pebench.leaderboard.extension.remarks import told as told
from pebench.leaderboard.extension.remarks import told_apart as told_apart
from pebench.leaderboard.extension.summary import best as best
from pebench.leaderboard.extension.summary import in_short as in_short
from pebench.leaderboard.extension.summary import published as published
from pebench.leaderboard.extension.tables import BY_KIND as BY_KIND
from pebench.leaderboard.extension.tables import COLUMNS as COLUMNS
from pebench.leaderboard.extension.tables import ENDS as ENDS
from pebench.leaderboard.extension.tables import FOUND as FOUND
from pebench.leaderboard.extension.tables import FOUND_AXIS as FOUND_AXIS
from pebench.leaderboard.extension.tables import FOUND_CURVES as FOUND_CURVES
from pebench.leaderboard.extension.tables import LEGEND as LEGEND
from pebench.leaderboard.extension.tables import LOSS_AXIS as LOSS_AXIS
from pebench.leaderboard.extension.tables import LOSS_CURVES as LOSS_CURVES
from pebench.leaderboard.extension.tables import NO_CHOICE as NO_CHOICE
from pebench.leaderboard.extension.tables import TIMES as TIMES
from pebench.leaderboard.extension.tables import as_rows as as_rows
from pebench.leaderboard.extension.tables import cells as cells
from pebench.leaderboard.extension.tables import found_by_length as found_by_length
from pebench.leaderboard.extension.tables import heading as heading
from pebench.leaderboard.extension.tables import kind_table as kind_table
from pebench.leaderboard.extension.tables import label as label
from pebench.leaderboard.extension.tables import numbers as numbers
from pebench.leaderboard.extension.tables import print_tracks as print_tracks
from pebench.leaderboard.extension.tables import spanned as spanned
from pebench.leaderboard.extension.tables import title as title
from pebench.leaderboard.extension.tables import to_frame as to_frame
from pebench.leaderboard.extension.tables import to_json as to_json
from pebench.leaderboard.extension.tables import to_markdown as to_markdown
