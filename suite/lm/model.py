"""The standard language model: one small pre-norm decoder, in which only the encoding differs.

RMS norm, q and k normalised before the encoding, SwiGLU, tied embeddings. Nothing here knows a position;
positions, rotations, biases and attention weights are the encoding's hooks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pebench.encodings.base import NOTHING, At, Encoding, Keys, Memory, Shape
from pebench.encodings.streams import build, stream
from pebench.suite.lm.attention import LayerCache, layer
from pebench.suite.lm.layers import add_linear, feed_forward, norm_linear, split_qkv


@dataclass(frozen=True)
class Size:
    """The size of a standard LM. The feed-forward width is 8/3 of the model's, rounded up to a multiple of 32."""

    layers: int
    width: int
    heads: int
    vocab: int

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared among {self.heads} heads")

    @property
    def hidden(self) -> int:
        return -(-self.width * 8 // (3 * 32)) * 32

    def shape(self, train_length: int) -> Shape:
        """What the encoding may know of this model."""
        return Shape(self.layers, self.heads, self.width // self.heads, train_length)


class LengthError(ValueError):
    """More tokens than an encoding is defined for."""


class Cache:
    """What decoding remembers: `LM.forward` continues after the tokens that it has seen."""

    def __init__(self, layers: int):
        self.length = 0
        self.pos: Tensor | None = None
        self.memory: Memory = {}  # of `positions`
        self.layers = [LayerCache() for _ in range(layers)]


class Attention(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width, bias=False)
        self.out = nn.Linear(size.width, size.width, bias=False)
        # Normalised q and k bound the logits by sqrt(d), flat for retrieval in narrow heads: a scalar per head
        # lifts the bound, and commutes with every rotation as a gain per channel would not.
        self.temperature = nn.Parameter(torch.empty(size.heads, 1, 1))

    def forward(
        self, x: Tensor, qkv: Tensor, encoding: Encoding, at: At, keys: Keys, cache: LayerCache | None
    ) -> Tensor:
        """Heads side by side (B, T, D), out of the normalised input x (B, T, D) and qkv(x)."""
        q, k, v = split_qkv(qkv, self.temperature)
        # Without a cache memory is empty: a recomputed block must not continue from its first pass.
        at = at._replace(x=x.float(), v=v, memory=cache.memory if cache else {})
        with torch.autocast(x.device.type, enabled=False):  # an encoding's float32 stays float32
            y = layer(encoding, at, q, k, v, keys, cache)
        return y.transpose(1, 2).flatten(2)


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))


class SwiGLU(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.gate_up = nn.Linear(size.width, 2 * size.hidden, bias=False)
        self.down = nn.Linear(size.hidden, size.width, bias=False)


class Block(nn.Module):
    """x + out(attention(norm(x))), then x + down(silu(gate) * up) of (gate, up) = gate_up(norm(x)).

    The products and what lies between them are in suite/lm/layers.py.
    """

    def __init__(self, size: Size):
        super().__init__()
        self.norm1 = RMSNorm(size.width)
        self.attention = Attention(size)
        self.norm2 = RMSNorm(size.width)
        self.mlp = SwiGLU(size)

    def forward(self, x: Tensor, encoding: Encoding, at: At, keys: Keys, cache: LayerCache | None) -> Tensor:
        h, qkv = norm_linear(x, self.norm1.weight, self.attention.qkv.weight)
        y = self.attention(h, qkv, encoding, at, keys, cache)
        x = add_linear(x, y, self.attention.out.weight)
        return feed_forward(x, self.norm2.weight, self.mlp.gate_up.weight, self.mlp.down.weight)


class LM(nn.Module):
    """Tokens (B, T) in, logits (B, T, vocab) out.

    Every weight outside the encoding is drawn from a random stream named by (seed, parameter name). So two
    encodings with one seed share all of them bit for bit.
    """

    def __init__(self, size: Size, encoding: type[Encoding], train_length: int, seed: int):
        super().__init__()
        self.size = size
        self.embedding = nn.Embedding(size.vocab, size.width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = RMSNorm(size.width)
        self.initialise(seed)
        self.encoding = build(encoding, size.shape(train_length), seed)
        self.progress = torch.ones(
            (), device="cpu"
        )  # who trains sets it to the share of the steps that are done

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Matrices N(0, 0.5/sqrt(fan-in)), as in the GRAPE reference; embeddings N(0, 0.02); gains and scalars 1.

        Matrices that write to the residual stream start smaller by sqrt(2 * layers), as in GPT-2.
        """
        for name, p in self.named_parameters():
            if p.dim() != 2:
                p.fill_(1.0)
                continue
            std = 0.02 if name == "embedding.weight" else 0.5 * p.shape[1] ** -0.5
            if name.endswith(("out.weight", "down.weight")):
                std *= (2 * self.size.layers) ** -0.5
            p.normal_(0.0, std, generator=torch.Generator().manual_seed(stream(seed, name)))

    def cache(self) -> Cache:
        """An empty cache; pass it to successive calls of `forward`."""
        return Cache(self.size.layers)

    def forward(self, tokens: Tensor, cache: Cache | None = None, asked: Tensor | None = None) -> Tensor:
        """Logits of all tokens, or (N, vocab) of the N that `asked` (B, T), bool, marks."""
        x = self.states(tokens, cache)
        return self.logits(x if asked is None else x[asked])

    def logits(self, x: Tensor) -> Tensor:
        """Logits (..., vocab) of residual states (..., D)."""
        return norm_linear(x, self.norm.weight, self.embedding.weight)[1]

    def states(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """The residual stream (B, T, D) behind the last block."""
        if not tokens.numel():  # an empty batch, or an empty chunk, which leaves the cache as it is
            return self.embedding(tokens)
        if cache and (past := cache.layers[0].k) is not None and len(past) != len(tokens):
            raise ValueError(f"this cache holds {len(past)} texts, and the tokens are of {len(tokens)}")
        start, length = (cache.length if cache else 0), tokens.shape[1]
        limit = self.encoding.max_length
        if limit is not None and start + length > limit:
            raise LengthError(f"{start + length} tokens, but this encoding is defined up to {limit}")
        index = torch.arange(start, start + length, device=tokens.device)
        pos = k_pos = self.encoding.positions(index, tokens, cache.memory if cache else {})
        if cache and cache.pos is not None:
            k_pos = torch.cat([cache.pos, pos], dim=min(1, pos.dim() - 1))
        keys = Keys(torch.arange(start + length, device=tokens.device), k_pos)
        progress = self.progress.to(tokens.device)
        x = self.encoding.embed(self.embedding(tokens), pos)
        for n, block in enumerate(self.blocks):
            remembered = cache.layers[n] if cache else None
            at = At(n, NOTHING, NOTHING, index, pos, {}, progress)  # x, v and memory follow in the block
            x = block(x, self.encoding, at, keys, remembered)
        if cache:
            cache.length, cache.pos = start + length, k_pos
        return x
