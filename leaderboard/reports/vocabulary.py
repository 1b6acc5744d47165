"""The words of published tables: what a kind, a unit, a phase or a name of an encoding means here.

`published` reads tables by them.
"""

import math
import re
from collections.abc import Container, Iterable

AT, BEYOND = "at L", "beyond L"

# What a table measures -> the task of ours that asks the same, or nearly; "" is the average of all tasks.
SUBJECTS = {
    "downstream": "language",
    "perplexity": "language",
    "bits": "language",
    "copy": "copy",
    "reverse": "reverse",
    "addition": "addition",
    "sort": "sort",
    "needle": "needle",
    "recall": "recall",
    "indexing": "recall",
    "latest": "latest",
    "flipflop": "flipflop",
    "counting": "flipflop",
    "parity": "flipflop",
    "permutation": "permutation",
    "composition": "",
}
# A board without that task is asked for the first of these that it measured (`STANDARD_2`).
SUCCESSORS = {
    "downstream": ("language_ends",),
    "perplexity": ("language_ends",),
    "bits": ("language_ends",),
    "copy": ("copy_unique",),
    "needle": ("needle_text",),
    "recall": ("recall_again",),
    "indexing": ("indexing", "recall_again"),
    "latest": ("recall_again",),
    "flipflop": ("flipflop_error",),
    "counting": ("parity",),
    "parity": ("parity",),
}


def task_of(subject: str, measured: Container[str]) -> str:
    """The task of ours that asks the same as a published subject, or its successor where only that was measured.

    >>> task_of("perplexity", {"language"}), task_of("perplexity", {"language_ends"}), task_of("perplexity", ())
    ('language', 'language_ends', 'language')
    """
    asked = (SUBJECTS[subject], *SUCCESSORS.get(subject, ()))
    return next((task for task in asked if task in measured), asked[0])


KINDS = tuple(f"{subject} {phase}" for subject in SUBJECTS for phase in (AT, BEYOND))

# Words for a subject, our newer tasks among them, in lower case with spaces for hyphens and underscores.
LANGUAGE = ("language", "language ends", "language modeling", "language modelling", "loss", "nll")
LOSSES = tuple(f"{split} loss" for split in ("val", "validation", "test", "eval", "lm", "cross entropy"))
PERPLEXITIES = tuple(
    f"{split} {word}" for split in ("val", "validation", "test") for word in ("ppl", "perplexity")
)
AVERAGES = tuple(
    f"{mean} {word}" for mean in ("average", "avg", "mean", "downstream") for word in ("accuracy", "acc")
)
WORDS = {
    **{subject: subject for subject in SUBJECTS},
    **dict.fromkeys(("ppl", "pplx", *PERPLEXITIES), "perplexity"),
    **dict.fromkeys(("bpb", "bpc", "bits per byte", "bits per character"), "bits"),
    **dict.fromkeys(("accuracy", "acc", *AVERAGES), "downstream"),
    **dict.fromkeys(("passkey", "pass key", "passkey retrieval", "niah", "retrieval"), "needle"),
    **dict.fromkeys(("s niah", "single niah", *(f"s niah {n}" for n in (1, 2, 3))), "needle"),
    **dict.fromkeys(("needle in a haystack", "needle in the haystack", "needle text"), "needle"),
    **dict.fromkeys(("copying", "copy unique", "copy repeat"), "copy"),
    **dict.fromkeys(
        ("associative recall", "multi query associative recall", "mqar", "recall again"), "recall"
    ),
    **dict.fromkeys(("flip flop", "flipflop error"), "flipflop"),
    **dict.fromkeys(("indirect indexing",), "indexing"),
    **dict.fromkeys(("sorting",), "sort"),
    **dict.fromkeys((*LANGUAGE, *LOSSES), "language"),  # the unit tells which of its subjects
}
BY_UNIT = {"perplexity": "perplexity", "nats": "perplexity", "bits": "bits"}  # else downstream
UNSURE = ("accuracy", "acc", *AVERAGES, "retrieval")  # each use is told
PHASES = {
    **dict.fromkeys(("at l", "at", "iid", "i.i.d.", "id", "in distribution"), AT),
    **dict.fromkeys(("beyond l", "beyond", "ood", "out of distribution", "extrapolation"), BEYOND),
}

# The smallest published difference that counts, at L and beyond L; of perplexities a share of the smaller one. The
# logarithm of a perplexity is in nats.
MARGINS = {
    "share": (0.05, 0.05),
    "percent": (2.0, 2.0),
    "bits": (0.01, 0.04),
    "perplexity": (0.005, 0.03),
    "nats": (0.005, 0.03),
}
DOWNSTREAM_MARGINS = MARGINS | {
    "share": (0.01, 0.01),
    "percent": (1.0, 1.0),
}  # averages over several test sets
UNITS = tuple(MARGINS)
ACCURACY = "accuracy"  # a share or a percentage, as the values of its table tell
SHORT_UNITS = {
    **dict.fromkeys(("pct", "%", "percentage", "points"), "percent"),
    **dict.fromkeys(("fraction", "ratio"), "share"),
    **dict.fromkeys(("accuracy", "acc"), ACCURACY),
    **dict.fromkeys(("ppl", "pplx"), "perplexity"),
    **dict.fromkeys(("bpb", "bpc", "bits per byte", "bits per character", "bits/byte", "bits/char"), "bits"),
    **dict.fromkeys(("loss", "nll", "nat", "nats/token", "nats per token"), "nats"),
}
RANGES = {
    "share": (0, 1),
    "percent": (0, 100),
    ACCURACY: (0, 100),
    "bits": (0, math.inf),
    "nats": (0, math.inf),
    "perplexity": (1, math.inf),
}
DIRECTIONS = {
    **dict.fromkeys(("higher", "up", "max", "high", "larger", "↑", "higher is better"), "higher"),
    **dict.fromkeys(("lower", "down", "min", "low", "smaller", "↓", "lower is better"), "lower"),
}

# The other form that is read: our task, the phase and a short name of the quantity, in the place of kind and unit.
SHORT_FORM = ("our_task", "phase", "quantity")
SHORT_QUANTITIES = {
    **dict.fromkeys(("down", "downstream"), ("downstream", "percent")),
    **dict.fromkeys(("ppl", "pplx", "perplexity"), ("perplexity", "perplexity")),
    **dict.fromkeys(("loss", "nll", "nats"), ("perplexity", "nats")),
    **dict.fromkeys(("bits", "bpb", "bpc"), ("bits", "bits")),
    **dict.fromkeys(("pct", "percent", "%"), ("", "percent")),
    **dict.fromkeys(("accuracy", "acc"), ("", ACCURACY)),
    "share": ("", "share"),
}  # -> the subject, "" for the task's own, and the unit

# Names in papers, in lower case without punctuation -> ours.
ALIASES = {
    "rotary": "rope",
    "rope10k": "rope",
    "rope10000": "rope",
    "ropebase10k": "rope",
    "ropebase10000": "rope",
    "ropetheta10000": "rope",
    "rope500000": "rope_500k",
    "ropebase500k": "rope_500k",
    "ropebase500000": "rope_500k",
    "ropetheta500000": "rope_500k",
    "roformer": "rope",
    "nopos": "nope",
    "no": "nope",
    "without": "nope",
    "wo": "nope",
    "none": "nope",
    "alibibias": "alibi",
    "linearbias": "alibi",
    "attentionwithlinearbiases": "alibi",
    "t5": "t5_bias",
    "t5s": "t5_bias",
    "t5rpe": "t5_bias",
    "t5rpb": "t5_bias",
    "t5relative": "t5_bias",
    "t5relativepositionbias": "t5_bias",
    "t5relativepositionalbias": "t5_bias",
    "t5srelativepositionbias": "t5_bias",
    "t5srpe": "t5_bias",
    "t5srelativepe": "t5_bias",
    "t5relativebias": "t5_bias",
    "t5srelativebias": "t5_bias",
    "t5rpelog": "t5_bias",
    "t5buckets": "t5_bias",
    "t5bucketed": "t5_bias",
    "relativet5": "t5_bias",
    "rpet5": "t5_bias",
    "relativeraffel": "t5_bias",
    "kerple": "kerple_log",
    "kerplelogarithmic": "kerple_log",
    "dapekerple": "dape",
    "dapekerplelog": "dape",
    "forgettingtransformer": "fox",
    "foxllama": "fox",
    "forgetting": "fox",
    "sinusoid": "sinusoidal",
    "sin": "sinusoidal",
    "sincos": "sinusoidal",
    "sinusoidalape": "sinusoidal",
    "absolutesinusoidal": "sinusoidal",
    "apesinusoidal": "sinusoidal",
    "learned": "learned_ape",
    "learnable": "learned_ape",
    "learnedabsolute": "learned_ape",
    "learnableabsolute": "learned_ape",
    "learnableape": "learned_ape",
    "apelearned": "learned_ape",
    "apelearnable": "learned_ape",
    "lape": "learned_ape",
    "contextual": "cope",
    "polar": "pope",
    "transformerxl": "transformer_xl",
    "txl": "transformer_xl",
    "relativepe": "shaw",
    "shawrpe": "shaw",
    "rpeshaw": "shaw",
    "relativeshaw": "shaw",
    "randomised": "randomized",
    "randomizedrope": "randomized",
    "randomisedrope": "randomized",
    "randompe": "randomized",
    "positioninterpolation": "rope@pi",
    "pi": "rope@pi",
    "ropepi": "rope@pi",
    "linearinterpolation": "rope@pi",
    "linearpi": "rope@pi",
    "ntk": "rope@ntk",
    "ntkaware": "rope@ntk",
    "ropentk": "rope@ntk",
    "ntkrope": "rope@ntk",
    "ntkawarerope": "rope@ntk",
    "dynamicntk": "rope@ntk_dynamic",
    "dynamicntkrope": "rope@ntk_dynamic",
    "ntkdynamic": "rope@ntk_dynamic",
    "ntkbyparts": "rope@yarn_frequencies",
    "yarn": "rope@yarn",
    "ropeyarn": "rope@yarn",
    "foxrope": "rope+fox",
    "ropefox": "rope+fox",
    "foxwrope": "rope+fox",
    "foxwithrope": "rope+fox",
    "grapea": "grape_a_qk",
    "additivegrape": "grape_a_qk",
    "grapem": "grape_m_nonctx",
    "multiplicativegrape": "grape_m_nonctx",
    "pathintegralgrape": "grape_ap",
    "grapemctx": "grape_m_ctx",
    "grapemnonctx": "grape_m_nonctx",
    "grapemnoncontextual": "grape_m_nonctx",
    "grapemcontextual": "grape_m_ctx",
    "stickbreakingattention": "stick_breaking",
    "sba": "stick_breaking",
    "swangpt": "swan",
    "pathattention": "path",
    "scalablesoftmax": "ssmax",
    "selective": "selective_rope",
}
# Words and references that name no encoding.
FILLERS = (
    *("position", "positional", "encoding", "encodings", "embedding", "embeddings", "pe"),
    *("vanilla", "standard", "original", "baseline"),
)
HOSTS = ("ours", "transformer")  # in "Transformer (RoPE)" the parentheses name the encoding
REFERENCE = r"\[[\d, ]+\]|\((ours|(19|20)[0-3]\d|[^()]*(et al|, *(19|20)[0-3]\d)[^()]*)\)|\bet al\b"
AUTHORS = r"\(([^\W\d_]+)[^()]* et al[^()]*\)"  # the first of them
AMBIGUOUS = {
    "ape": "sinusoidal or learned_ape",
    "absolute": "sinusoidal or learned_ape",
    "rpe": "shaw or t5_bias",
    "relative": "shaw or t5_bias",
}


def named(name: str, known: Iterable[str]) -> str:
    """Our name of an encoding that a paper names; "" where there is none.

    A name counts without references and FILLERS. Where it ends in parentheses, "Rotary Embedding (RoPE)", both parts
    must name the same encoding, if the whole names none.

    >>> [named(n, ["rope", "t5_bias", "kerple_log"]) for n in ("RoPE", "T5's RPE", "KERPLE (log)", "Mamba")]
    ['rope', 't5_bias', 'kerple_log', '']
    >>> [named(n, ["alibi", "fox"]) for n in ("ALiBi (Press et al., 2022)", "Rotary PE (RoPE)", "FoX (Pro)")]
    ['alibi', 'rope', '']
    """
    by_plain = ALIASES | {_plain(ours): ours for ours in [*ALIASES.values(), *known]}

    def found(text: str) -> str:
        words = [word for word in re.findall(r"[^\W_]+", _signs(text.lower())) if word not in FILLERS]
        return by_plain.get(_plain(text)) or by_plain.get(_plain("".join(words)), "")

    by_author = found(re.sub(AUTHORS, r" \1", name, flags=re.IGNORECASE))  # "Relative (Shaw et al., 2018)"
    name = re.sub(REFERENCE, "", name, flags=re.IGNORECASE)
    parts = re.fullmatch(r"(.+)\((.+)\)\s*", name)
    inside = found(parts[2]) if parts else ""
    host = parts is not None and parts[1].strip().lower() in HOSTS
    return by_author or found(name) or (inside if parts and (host or found(parts[1]) == inside) else "")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", _signs(name.lower()))


def _signs(name: str) -> str:
    """With letters for the plus signs that end a name: RoPE++ is not RoPE."""
    return re.sub(r"\+\s*$", "plus", re.sub(r"\+\+", "pp", name))


def margin(kind: str, unit: str) -> float:
    """The smallest difference of two published values that counts; of perplexities it is a share of the smaller."""
    at, beyond = (DOWNSTREAM_MARGINS if kind.startswith("downstream") else MARGINS)[unit]
    return at if kind.endswith(AT) else beyond
