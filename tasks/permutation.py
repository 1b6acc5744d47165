"""Keep track of a product of permutations."""

import itertools

import torch
from torch import Tensor

from pebench.tasks.algorithmic import BEGIN, AlgorithmicTask
from pebench.tasks.base import IGNORE, Batch, Condition, draw, draw_long, grid
from pebench.tasks.data.corpus import Split

Permutation = tuple[int, ...]


def even(p: Permutation) -> bool:
    """Whether a permutation has an even number of inversions.

    >>> even((1, 2, 0)), even((1, 0, 2))
    (True, False)
    """
    return sum(a > b for a, b in itertools.combinations(p, 2)) % 2 == 0


S3 = list(itertools.permutations(range(3)))
A5 = [p for p in itertools.permutations(range(5)) if even(p)]
GROUPS = {"S3": S3, "A5": A5}
# Two generators of each: a swap and a turn of all three; turns of the first and of the last three of five.
GENERATORS: dict[str, list[Permutation]] = {
    "S3": [(1, 0, 2), (1, 2, 0)],
    "A5": [(1, 2, 0, 3, 4), (0, 1, 3, 4, 2)],
}
START = {"S3": BEGIN + 1, "A5": BEGIN + 1 + len(S3)}  # the token of the group's first element, the identity


def table(group: list[Permutation]) -> Tensor:
    """The product of elements i and j, by number, at [i, j]: first i, then j.

    >>> swap, turn = S3.index((1, 0, 2)), S3.index((1, 2, 0))
    >>> S3[table(S3)[swap, turn]], S3[table(S3)[turn, swap]]
    ((2, 1, 0), (0, 2, 1))
    """
    number = {p: i for i, p in enumerate(group)}
    return torch.tensor([[number[tuple(q[i] for i in p)] for q in group] for p in group])


TABLES = {name: table(group) for name, group in GROUPS.items()}


def products(elements: Tensor, group: str) -> Tensor:
    """The running products (B, n) of elements (B, n), by number.

    >>> swap, turn = S3.index((1, 0, 2)), S3.index((1, 2, 0))
    >>> [S3[i] for i in products(torch.tensor([[swap, turn, turn]]), "S3")[0]]
    [(1, 0, 2), (2, 1, 0), (0, 2, 1)]
    """
    running = elements.clone()
    for t in range(1, elements.shape[1]):
        running[:, t] = TABLES[group][running[:, t - 1], elements[:, t]]
    return running


class PermutationProduct(AlgorithmicTask):
    """The word problem of S3 and of A5: BOS and generators; at each the product so far is asked for.

    Words are uniform over two generators of the group. Over all elements, small models do not even learn the table
    of A5, with its 3600 products. S3 is solvable; A5 is not. No model of fixed depth is expected to solve A5 at
    every length (Merrill et al., 2024, arXiv 2404.08819, section 4). Trained on words of 1 to L generators of
    either group. No answer is fed back.

    At the training length a model may have met every word (there are 2^6 of six generators). There the score and
    the gate say that the training distribution was learned, perhaps by heart. Generalisation shows at greater
    lengths.
    """

    name = "permutation"
    title = "Products of permutations"
    family = "state tracking"
    vocab = BEGIN + 1 + len(S3) + len(A5)
    gate = 0.9
    fed_back = False

    def context(self, length: int) -> int:
        return length + 1

    def size(self, condition: Condition) -> int:
        return self.context(int(condition["length"]))

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw_long(1, length, rng), "group": list(GROUPS)[draw(0, 1, rng)]}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n, "group": group} for n in grid(length, multiples) for group in GROUPS]

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        length, group = int(condition["length"]), str(condition["group"])
        numbers = torch.tensor([GROUPS[group].index(p) for p in GENERATORS[group]])
        tokens = torch.full((n, length + 1), BEGIN)
        tokens[:, 1:] = START[group] + numbers[torch.randint(0, len(numbers), (n, length), generator=rng)]
        targets = torch.full_like(tokens, IGNORE)
        targets[:, 1:] = self.solve(tokens)[:, 1:]
        return Batch(tokens, targets)

    def word(self, token: int) -> str:
        """The images of a permutation: (2 1 3) swaps the first two."""
        if token == BEGIN:
            return "start"
        group = "S3" if token < START["A5"] else "A5"
        return f"({' '.join(str(image + 1) for image in GROUPS[group][token - START[group]])})"

    def solve(self, tokens: Tensor) -> Tensor:
        group = "S3" if int(tokens[0, 1]) < START["A5"] else "A5"
        said = torch.zeros_like(tokens)
        said[:, 1:] = START[group] + products(tokens[:, 1:] - START[group], group)
        return said

    def chance(self, condition: Condition) -> float:
        """All words are equally likely, and no two have the same products."""
        return float(len(GENERATORS[str(condition["group"])])) ** -int(condition["length"])
