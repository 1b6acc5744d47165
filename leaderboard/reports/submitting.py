"""The page "submit": written here once, generated into docs/submit.md, and shown by the app and the site."""

from pebench.leaderboard.about import USUAL

SUBMIT = f"""
1. **Write it.** `pebench new my_idea` writes `my_idea.py`, a working encoding. Change its formula.
2. **Check it.** `pebench check my_idea.py` proves in seconds, before any training, that the encoding is correct. The
   future is hidden. Cached decoding equals the full forward. Every parameter learns. Each claim of the class holds.
3. **Run it.** `pebench run --profile {USUAL} -e rope,alibi,my_idea.py` trains and measures it beside two others. After
   Ctrl-C a second call continues.
4. **Look.** `pebench board --beside published` and `pebench app --beside published` mark your rows beside the published
   ones. The page *Compare* says whether a test separates two encodings. A rank needs two seeds in every task.
5. **Commit it.** A record names the commit of the code that made it. Records of uncommitted code are refused.
6. **Pack it.** `pebench submit my_idea.py --profile {USUAL}` prints how long it takes and makes the missing runs. Then
   it compares the encoding with the published board, and packs `submissions/my_idea`: the file, its card, its
   records and its hash.
7. **Fill in the card.** Authors, licence and BibTeX, in `submissions/my_idea/card.json`.
8. **Review it yourself.** `pebench validate submissions/my_idea` prints what a reviewer sees. It executes nothing of
   the submission.
9. **Send it.** Commit the folder and open a pull request. A workflow comments the review.
"""
