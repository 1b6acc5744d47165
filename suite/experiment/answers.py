"""What a model answered to the first test items of a condition, for a page to show."""

from torch import Tensor

from pebench.suite.results.record import Answer
from pebench.tasks.base import BLANK, IGNORE, Batch, Condition, LanguageModel, Task

MOST = 120  # characters of an item; of a longer one the middle is left out


def answers(task: Task, model: LanguageModel, condition: Condition, items: Batch | None) -> list[Answer]:
    """The right answer and the model's to each item, teacher-forced as the score is. Nothing without items."""
    if items is None:
        return []
    guesses = model(items.tokens).argmax(-1)
    found = []
    for number, (tokens, targets, said) in enumerate(zip(*items, guesses, strict=True)):
        asked = targets != IGNORE
        found.append(
            Answer(
                condition=condition,
                item=number,
                asked=shortened(task.text(question(task, tokens, targets))),
                answer=shortened(task.text(targets[asked].tolist())),
                said=shortened(task.text(said[asked].tolist())),
                right=bool((said == targets)[asked].all()),
            )
        )
    return found


def question(task: Task, tokens: Tensor, targets: Tensor) -> list[int]:
    """The tokens (T,) that the model reads, with BLANK in the place of each right answer that it reads too.

    >>> import torch
    >>> from pebench.tasks.parity import Parity
    >>> from pebench.tasks.copy import Copy
    >>> question(Copy(), torch.tensor([0, 7, 5, 1, 7]), torch.tensor([IGNORE, IGNORE, IGNORE, 7, 5]))
    [0, 7, 5, 1, -1, -1]
    >>> question(Parity(), torch.tensor([0, 2, 1]), torch.tensor([IGNORE, 2, 2]))
    [0, 2, 1]
    """
    if not task.fed_back:
        return tokens.tolist()
    places = zip(tokens[1:].tolist(), targets[:-1].tolist(), strict=True)
    read = [token if asked == IGNORE else BLANK for token, asked in places]
    return [int(tokens[0]), *read, *([BLANK] if targets[-1] != IGNORE else [])]


def shortened(text: str) -> str:
    """At most MOST characters of a text: its beginning and its end.

    >>> shortened("a" * 200).index(" ... "), len(shortened("a" * 200))
    (57, 120)
    """
    half = (MOST - 5) // 2
    return text if len(text) <= MOST else f"{text[:half]} ... {text[half - MOST + 5 :]}"
