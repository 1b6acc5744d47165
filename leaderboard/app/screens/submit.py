"""How to submit an encoding, step by step."""

import streamlit as st

SUBMIT = """
1. **Write it.** `pebench new my_encoding` makes a file that works. Change its formula; that one file is
   all.
2. **Check it.** `pebench check my_encoding.py` proves in seconds, before any training, that the future
   is hidden, that cached decoding equals the full forward, that every parameter learns, and each claim
   that the class makes.
3. **Run it.** `pebench run --profile QUICK -e rope,alibi,my_encoding.py` trains and measures it in minutes,
   beside two to be compared with. It can be interrupted: a second call goes on where the first one stopped.
4. **Look.** `pebench board` and this app show it among the others. For a place among encodings with
   three seeds add `--seeds 3`.
5. **Pack it.** `pebench submit my_encoding.py --profile QUICK` says how long it will take, runs what is
   missing, compares with the board and packs the file, its card, its records and its hash into the folder
   `submissions/my_encoding`. Run it from committed code, so that the commit in each record is the one that
   others can run.
6. **Fill in the card.** Authors, licence and BibTeX, in the `card.json` of that folder.
7. **Send it** as a pull request. `pebench validate submissions/my_encoding` reviews it, running none of
   it, and you can do so before. A record gets the mark *verified* when somebody else has run it again with
   `pebench reproduce RECORD`: *equal* on the same kind of processor, *within seed spread* on another.
"""


def show() -> None:
    st.title("Submit an encoding")
    st.markdown(SUBMIT)
