"""Several continuations of one text, read side by side: questions about it, and answers to each.

The text's keys are read once for all of them. So a token of each costs hardly more than one token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pebench.suite.extend.attention import Behind, in_parts
from pebench.suite.extend.model import CHUNK, Reader


class Branches:
    """Continuations of one text, read side by side: each sees the text and its own tokens."""

    def __init__(self, reader: Reader, text: Tensor):
        self.reader, self.text = reader, text
        self.tokens, self.seen = list[Tensor](), list[set[int]]()  # of each branch, with its parent's
        self.owners = self.places = torch.empty(0, dtype=torch.long)  # of the cache's tokens behind the text
        reader.hold(text)

    @property
    def together(self) -> bool:
        """Whether they can be: running sums are of one text, and other hooks know no branches."""
        return self.reader.cache.rewinds and in_parts(self.reader.model.encoding)

    def add(self, parent: int | None = None) -> int:
        """Begin another one, behind the text or behind the tokens so far of another branch. Returns its number."""
        self.tokens.append(torch.empty(0, dtype=torch.long) if parent is None else self.tokens[parent])
        self.seen.append({len(self.seen), *(() if parent is None else self.seen[parent])})
        return len(self.seen) - 1

    def read(self, parts: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
        """The last hidden states (N, D) of the tokens (N,) that continue each of these branches."""
        if not self.together:
            return [self.alone(*part) for part in parts]
        states, some = list[Tensor](), list[tuple[int, Tensor]]()
        for part in parts:
            if some and sum(len(tokens) for _, tokens in (*some, part)) > CHUNK:
                states += self.at_once(some)
                some = []
            some.append(part)
        return [*states, *self.at_once(some)]

    def at_once(self, parts: Sequence[tuple[int, Tensor]]) -> tuple[Tensor, ...]:
        """The same in one chunk."""
        if not any(len(tokens) for _, tokens in parts):
            return tuple(torch.empty(0, self.reader.model.about.width) for _ in parts)
        owners = torch.cat([torch.full((len(tokens),), branch) for branch, tokens in parts])
        starts = [len(self.text) + len(self.tokens[branch]) for branch, _ in parts]
        places = torch.cat(
            [start + torch.arange(len(tokens)) for start, (_, tokens) in zip(starts, parts, strict=True)]
        )
        self.owners, self.places = torch.cat([self.owners, owners]), torch.cat([self.places, places])
        related = torch.tensor([[b in seen for b in range(len(self.seen))] for seen in self.seen])
        seen = related[owners][:, self.owners] & (self.places <= places[:, None])
        behind = Behind(len(self.text), self.places, seen)
        with torch.no_grad():
            states = self.reader.model.chunk(
                torch.cat([tokens for _, tokens in parts]), self.reader.cache, behind
            )
        for branch, tokens in parts:
            self.tokens[branch] = torch.cat([self.tokens[branch], tokens])
        return states.split([len(tokens) for _, tokens in parts])

    def alone(self, branch: int, tokens: Tensor) -> Tensor:
        """The same for one branch, with all its tokens read again behind the text."""
        before = len(self.tokens[branch])
        self.tokens[branch] = torch.cat([self.tokens[branch], tokens])
        return self.reader.behind(self.text, self.tokens[branch])[before:]

    def greedy(
        self, branches: Sequence[int], last: Sequence[Tensor], counts: Sequence[int]
    ) -> list[list[int]]:
        """The likeliest tokens after each branch, so many; `last` are the states (D,) of their last tokens."""
        said = [list[int]() for _ in branches]
        states = dict(enumerate(last))
        while states:
            for n, state in states.items():
                said[n].append(int(self.reader.model.logits(state[None]).argmax()))
            left = [n for n in states if len(said[n]) < counts[n]]
            read = self.read([(branches[n], torch.tensor(said[n][-1:])) for n in left]) if left else []
            states = {n: state[-1] for n, state in zip(left, read, strict=True)}
        return said

    def likelihoods(
        self, branches: Sequence[int], last: Sequence[Tensor], answers: Sequence[Tensor]
    ) -> list[float]:
        """ln p of an answer (N,) after each branch; `last` are the states (D,) of their last tokens."""
        continued = [self.add(branch) for branch in branches]
        read = self.read([(branch, answer[:-1]) for branch, answer in zip(continued, answers, strict=True)])
        return [
            -float(self.reader.model.losses(torch.cat([state[None], states]), answer).sum())
            for state, states, answer in zip(last, read, answers, strict=True)
        ]
