"""The forward pass of a Llama-shaped model with any encoding in the place of its RoPE, in chunks through a cache."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import linear, rms_norm, silu

from pebench.encodings.base import NOTHING, At, Encoding, Keys, Memory
from pebench.suite.extend.attention import Behind, attend, grouping, in_parts, parts_of
from pebench.suite.extend.checkpoint import Checkpoint
from pebench.suite.lm.attention import LayerCache, layer
from pebench.suite.lm.precision import fast_bf16

CHUNK = 512  # tokens read at a time
LOGITS = 512  # tokens whose logits are held at once


def fastest() -> torch.dtype:
    """In which precision matrix products are computed here unless asked otherwise."""
    return torch.bfloat16 if fast_bf16(torch.device("cpu")) else torch.float32


@dataclass
class Cache:
    """Keys and values of the tokens that were read."""

    layers: list[LayerCache]
    length: int = 0
    memory: Memory = field(default_factory=dict)  # of `positions`

    @property
    def bytes_per_token(self) -> float:
        """Bytes that the cache holds for a token."""
        sides = [side for each in self.layers for side in (each.k, each.v) if side is not None]
        return sum(x.shape[1] * x.shape[3] * x.element_size() for x in sides)

    @property
    def rewinds(self) -> bool:
        """Whether tokens can be taken back: running sums cannot."""
        return not any(map(sums, [self.memory, *(each.memory for each in self.layers)]))


def sums(memory: Memory) -> bool:
    """Whether a memory holds any tensor."""
    return any(sums(x) if isinstance(x, dict) else True for x in memory.values())


class Model:
    """A checkpoint with an encoding. Products are of `dtype`; residuals, norms, rotations and softmax float32."""

    def __init__(self, checkpoint: Checkpoint, encoding: Encoding, dtype: torch.dtype | None = None):
        self.checkpoint, self.about, self.encoding = checkpoint, checkpoint.about, encoding
        self.dtype = dtype or fastest()
        embedding = checkpoint.weights["model.embed_tokens.weight"]
        self.weights = {
            name: x.float() if name.endswith("norm.weight") else x.to(self.dtype)
            for name, x in checkpoint.weights.items()
            if not name.startswith(("model.embed_tokens", "lm_head"))
        }
        self.embedding = embedding
        self.head = checkpoint.weights.get("lm_head.weight", embedding).float()

    def with_encoding(self, encoding: Encoding) -> "Model":
        """The same weights, in the same memory, with another encoding."""
        other = object.__new__(Model)
        other.__dict__ |= {**self.__dict__, "encoding": encoding}
        return other

    def cache(self) -> Cache:
        """An empty cache."""
        return Cache([LayerCache() for _ in range(self.about.layers)])

    @torch.no_grad()
    def read(self, tokens: Tensor, cache: Cache) -> Tensor:
        """The last hidden states (T, D) of the tokens (T,), which follow those in the cache."""
        parts = [self.chunk(part, cache) for part in tokens.split(CHUNK)]
        return torch.cat(parts)

    def chunk(self, tokens: Tensor, cache: Cache, behind: Behind | None = None) -> Tensor:
        """The same for tokens that are read at once.

        With `behind` they continue one text side by side, and the last places of it are theirs.
        """
        about, encoding = self.about, self.encoding
        start, stop = cache.length, cache.length + len(tokens)
        order = behind.places[-len(tokens) :] if behind else torch.arange(start, stop)
        plain = in_parts(encoding)
        if plain:
            method = grouping(encoding)
            views, seen = (len(method.views()) if method else 1), parts_of(encoding, order, behind)
        pos = order if plain else encoding.positions(order, tokens[None], cache.memory)
        x = self.embedding[tokens][None].float()
        for n, memory in enumerate(cache.layers):
            y = self.norm(x, n, "input_layernorm")
            q, k, v = (
                self.product(y, f"model.layers.{n}.self_attn.{side}_proj")
                .unflatten(-1, (-1, about.head_dim))
                .transpose(1, 2)
                for side in "qkv"
            )
            at = At(n, y, v, order, pos, memory.memory)
            if plain:
                q, k = encoding.qk(q, k, at)
                k, v, _ = memory.append(k, v, NOTHING, start)
                out = attend(q, k, v, seen, views, encoding.shape.scale)
            else:
                out = self.defined(at, q, k, v, memory, stop)
            x = x + self.product(out.transpose(1, 2).flatten(2), f"model.layers.{n}.self_attn.o_proj")
            y = self.norm(x, n, "post_attention_layernorm")
            gate, up = (self.product(y, f"model.layers.{n}.mlp.{side}_proj") for side in ("gate", "up"))
            x = x + self.product(silu(gate) * up, f"model.layers.{n}.mlp.down_proj")
        cache.length = stop
        return rms_norm(x, x.shape[-1:], self.weights["model.norm.weight"], about.eps)[0]

    def defined(self, at: At, q: Tensor, k: Tensor, v: Tensor, memory: LayerCache, stop: int) -> Tensor:
        """Attention by all hooks of any encoding, as the suite's own models have it."""
        repeats = self.about.heads // self.about.kv_heads
        k, v = (side.repeat_interleave(repeats, dim=1) for side in (k, v))
        every = torch.arange(stop)
        return layer(self.encoding, at._replace(v=v), q, k, v, Keys(every, every), memory)

    def norm(self, x: Tensor, n: int, name: str) -> Tensor:
        return rms_norm(x, x.shape[-1:], self.weights[f"model.layers.{n}.{name}.weight"], self.about.eps)

    def product(self, x: Tensor, name: str) -> Tensor:
        return linear(x.to(self.dtype), self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    @torch.no_grad()
    def logits(self, states: Tensor) -> Tensor:
        """Logits (N, vocab) in float32 of hidden states (N, D)."""
        return linear(states, self.head)

    @torch.no_grad()
    def losses(self, states: Tensor, targets: Tensor) -> Tensor:
        """-ln p (N,) of the tokens that follow these hidden states."""
        found = [
            torch.nn.functional.cross_entropy(self.logits(part), right, reduction="none")
            for part, right in zip(states.split(LOGITS), targets.split(LOGITS), strict=True)
        ]
        return torch.cat(found)


class Reader:
    """Reads texts one after another; the beginning that a text shares with the one before is not computed again.

    Only whole chunks of a text are kept, and what is asked behind it is a chunk of its own. So places of chunks do not
    depend on what was read before: rounding is the same in any order.
    """

    def __init__(self, model: Model):
        self.model, self.cache = model, model.cache()
        self.held = torch.empty(0, dtype=torch.long)

    def __call__(self, tokens: Tensor) -> Tensor:
        """The last hidden states of this text (T,): of those tokens that were not in the cache, the last at least."""
        shared = min(self.shared(tokens), len(tokens) - 1) // CHUNK * CHUNK
        if not self.cache.rewinds:  # also with nothing shared: its sums are of the text before
            self.cache, shared = self.model.cache(), 0
        self.cache.length, self.held = shared, tokens[:shared]
        states = self.model.read(tokens[shared:], self.cache)
        self.held = tokens
        return states

    def shared(self, tokens: Tensor) -> int:
        """How many tokens at the beginning are in the cache."""
        n = min(len(self.held), len(tokens))
        differ = (self.held[:n] != tokens[:n]).nonzero()
        return int(differ[0]) if len(differ) else n

    def rewind(self, n: int) -> None:
        """Keep the first n tokens, where there are more."""
        self.held = self.held[:n]

    def behind(self, text: Tensor, rest: Tensor) -> Tensor:
        """The last hidden states (N, D) of the tokens `rest` (N,) behind a text; the text stays in the cache."""
        self.hold(text)
        return self.model.read(rest, self.cache)

    def hold(self, text: Tensor) -> None:
        """Make a text the last that was read; what was read behind it is forgotten."""
        if not (self.cache.rewinds and torch.equal(self.held, text)):
            self(text)
        self.cache.length = len(text)
