"""The page "submit": written here once, generated into docs/submit.md, and shown by the app and the site."""

from pebench.leaderboard.about import USUAL

SHOWN = "STANDARD_2"  # the profile of the published board
SUBMIT = f"""
1. **Write it.** `pebench new my_idea` writes `my_idea.py`, a working encoding. Change its formula.
2. **Check it.** `pebench check my_idea.py` proves in seconds, before any training, that the encoding is correct. The
   future is hidden. Cached decoding equals the full forward. Every parameter learns. Each claim of the class holds.
3. **Commit it.** Work in a clone of your fork. A record names the commit of that checkout and holds the text of your
   file. Records from a checkout with changed files are refused. So are records from before your file's last change. New
   runs then need a new folder: `--records NEW_FOLDER`.
4. **Try it.** `pebench data prepare` fetches the text, once. `pebench run --profile {USUAL} -e rope,alibi,my_idea.py`
   trains and measures it beside two others, in minutes. After Ctrl-C a second call continues.
5. **Join the published board.** `pebench run --profile {SHOWN} -e my_idea.py` makes three seeds of seven tasks. A seed
   takes 12 to 20 minutes of one core at the speed of most encodings, and twice as long at PaTH's.
6. **Look.** `pebench board --profile {SHOWN} --beside published` marks your row beside the published ones, and so does
   `pebench app --beside published`. The page *Compare* says whether a test separates two encodings. A rank needs two
   seeds in every task.
7. **Pack it.** `pebench submit my_idea.py --profile {SHOWN}` prints how long it takes and makes the missing runs. Then
   it compares the encoding with the published board, and packs `submissions/my_idea`: the file, its card, its
   records and its hash. A submission on `{USUAL}` stands on the board of `{USUAL}` alone.
8. **Fill in the card.** Authors, licence and BibTeX, in `submissions/my_idea/card.json`.
9. **Review it yourself.** `pebench validate submissions/my_idea` prints what a reviewer sees. It executes nothing of
   the submission.
10. **Send it.** Commit the folder and open a pull request. A workflow comments the review.
"""
