"""Our encodings against code that others wrote: Hugging Face transformers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPTNeoXConfig, Llama4TextConfig, LlamaConfig, SeamlessM4Tv2Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.llama4.modeling_llama4 import Llama4TextAttention
from transformers.models.seamless_m4t_v2.modeling_seamless_m4t_v2 import SeamlessM4Tv2ConformerSelfAttention
from transformers.models.t5.modeling_t5 import T5Attention

from pebench.encodings.alibi import ALiBi
from pebench.encodings.base import At, Encoding, Keys, Shape, alibi_slopes, visible
from pebench.encodings.extension import LongRoPE2, extended, llama3, longrope2, ntk, pi, sharpening, yarn
from pebench.encodings.irope import IRoPE
from pebench.encodings.partial_rope import PartialRoPE
from pebench.encodings.rope import RoPE
from pebench.encodings.shaw import Shaw
from pebench.encodings.streams import build
from pebench.encodings.t5_bias import bucket
from pebench.suite.lm.attention import attended

LENGTH = 2048  # that the frequencies are trained at


def config(head_dim: int, kind: str, factor: float, **more: list[float]) -> LlamaConfig:
    """Their config of four heads with this kind of scaling."""
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10_000.0, **more}
    if kind != "default":
        rope["factor"] = factor
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if kind in ("yarn", "llama3", "longrope"):
        rope["original_max_position_embeddings"] = LENGTH
    return LlamaConfig(
        hidden_size=4 * head_dim, num_attention_heads=4, max_position_embeddings=LENGTH, rope_parameters=rope
    )


@pytest.mark.parametrize("factor", [2.0, 8.0])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_extended_frequencies_are_theirs(head_dim: int, factor: float) -> None:
    def theirs(kind: str, length: int | None = None) -> tuple[torch.Tensor, float]:
        return ROPE_INIT_FUNCTIONS[kind](config(head_dim, kind, factor), torch.device("cpu"), seq_len=length)

    frequencies = RoPE(Shape(1, 4, head_dim, LENGTH)).frequencies
    torch.testing.assert_close(pi(frequencies, factor, LENGTH), theirs("linear")[0])
    stretch = factor * 3 - (factor - 1)  # dynamic NTK at three times the trained length
    torch.testing.assert_close(ntk(frequencies, stretch, LENGTH), theirs("dynamic", 3 * LENGTH)[0])
    expected, gain = theirs("yarn")
    torch.testing.assert_close(yarn(frequencies, factor, LENGTH), expected)
    assert sharpening(factor) == pytest.approx(gain, rel=1e-6)
    torch.testing.assert_close(llama3(frequencies, factor, LENGTH), theirs("llama3")[0])


def test_longrope_divides_and_sharpens_as_theirs_does() -> None:
    frequencies = RoPE(Shape(1, 4, 64, LENGTH)).frequencies
    ours = longrope2(frequencies, 8.0, LENGTH)
    about = config(64, "longrope", 8.0, short_factor=[1.0] * 32, long_factor=(frequencies / ours).tolist())
    theirs, gain = ROPE_INIT_FUNCTIONS["longrope"](about, torch.device("cpu"), seq_len=8 * LENGTH)
    torch.testing.assert_close(ours, theirs)
    assert LongRoPE2.gain(8.0, LENGTH) == pytest.approx(gain**2, rel=1e-6)


@pytest.mark.parametrize(("method", "kind"), [(None, "default"), ("pi", "linear"), ("yarn", "yarn")])
def test_turned_queries_and_keys_meet_as_theirs_do(method: str | None, kind: str) -> None:
    shape, pos = Shape(1, 4, 64, LENGTH), 100 + torch.arange(50)
    q, k, v = torch.randn(3, 2, 4, 50, 64, generator=torch.Generator().manual_seed(0))
    rope = build(RoPE, shape).eval()
    encoding = extended(rope, method, 4.0) if method else rope
    ours = torch.matmul(*swapped(encoding.qk(q, k, At.whole(0, torch.zeros(2, 50, 256), v, pos))))
    cos, sin = LlamaRotaryEmbedding(config(64, kind, 4.0))(q, pos[None])
    theirs = torch.matmul(*swapped(apply_rotary_pos_emb(q, k, cos, sin)))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def swapped(pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """q and k^T, ready to be multiplied."""
    return pair[0], pair[1].mT


@pytest.mark.parametrize("heads", [4, 6, 8, 12, 16])
def test_alibi_is_that_of_bloom(heads: int) -> None:
    length, shape = 30, Shape(1, heads, 8, 32)
    bias = build_alibi_tensor(torch.ones(1, length), heads, torch.float32)  # (H, 1, T)
    torch.testing.assert_close(bias[:, 0, 1], alibi_slopes(heads))
    q, k = torch.randn(2, 1, heads, length, 8, generator=torch.Generator().manual_seed(0))
    pos = torch.arange(length)
    at = At.whole(0, torch.zeros(1, length, 8 * heads), q, pos)
    logits = (q @ k.mT * shape.scale + bias).masked_fill(~visible(at, Keys(pos, pos)), -torch.inf)
    one = torch.eye(length).expand(1, heads, -1, -1)  # as values, it makes attention return its weights
    ours = attended(build(ALiBi, shape), at, q, k, one)
    torch.testing.assert_close(ours, logits.softmax(-1), rtol=0, atol=1e-6)


def test_t5_buckets_are_theirs() -> None:
    far = torch.arange(3000)
    theirs = T5Attention._relative_position_bucket(
        -far, bidirectional=False, num_buckets=32, max_distance=128
    )
    assert torch.equal(bucket(far.float(), 32, 128).long(), theirs)


def weights(encoding: Encoding, layer: int, q: Tensor, k: Tensor) -> Tensor:
    """Our attention weights (1, H, T, T) for q and k (1, H, T, d)."""
    length = q.shape[2]
    at = At.whole(layer, torch.zeros(1, length, encoding.shape.width), q, torch.arange(length))
    return attended(encoding, at, q, k, torch.eye(length).expand(1, q.shape[1], -1, -1))


def causal(length: int) -> Tensor:
    """Their mask, to be added to logits."""
    return torch.full((1, 1, length, length), -torch.inf).triu(1)


def test_a_plain_layer_of_irope_grows_sharper_as_that_of_llama_4() -> None:
    about = Llama4TextConfig(
        hidden_size=64, num_attention_heads=4, num_key_value_heads=4, head_dim=16, num_hidden_layers=4,
        no_rope_layers=[1, 1, 1, 0], attn_temperature_tuning=True, floor_scale=8, attn_scale=0.1,
        attn_implementation="eager",
    )  # fmt: skip
    theirs = Llama4TextAttention(about, 3).eval()
    x = 5 * torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(x, None, causal(40))[1]
        q, k = (side(x).unflatten(-1, (4, 16)).transpose(1, 2) for side in (theirs.q_proj, theirs.k_proj))
        encoding = build(IRoPE, Shape(4, 4, 16, 16))  # chunks of 8 tokens
        torch.testing.assert_close(weights(encoding, 3, q, k), expected, rtol=0, atol=1e-5)


def test_relative_keys_are_those_of_seamless() -> None:
    encoding = build(Shaw, Shape(1, 4, 16, 16))
    about = SeamlessM4Tv2Config(
        hidden_size=64, speech_encoder_attention_heads=4, position_embeddings_type="relative_key",
        left_max_position_embeddings=encoding.clip, right_max_position_embeddings=0, attn_implementation="eager",
    )  # fmt: skip
    theirs = SeamlessM4Tv2ConformerSelfAttention(about).eval()
    x = 5 * torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        encoding.table.copy_(
            theirs.distance_embedding.weight.flip(0)
        )  # the last of theirs is for the token itself
        expected = theirs(x, causal(40))[1]
        q, k = (side(x).unflatten(-1, (4, 16)).transpose(1, 2) for side in (theirs.linear_q, theirs.linear_k))
        torch.testing.assert_close(weights(encoding, 0, q, k), expected, rtol=0, atol=1e-5)


def test_a_rotated_quarter_is_that_of_gpt_neox() -> None:
    about = GPTNeoXConfig(
        hidden_size=256, num_attention_heads=4,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25},
    )  # fmt: skip
    q, k = torch.randn(2, 1, 4, 50, 64, generator=torch.Generator().manual_seed(0))
    pos = 100 + torch.arange(50)
    turned = build(PartialRoPE, Shape(1, 4, 64, LENGTH)).qk(
        q, k, At.whole(0, torch.zeros(1, 50, 256), q, pos)
    )
    cos, sin = modeling_gpt_neox.GPTNeoXRotaryEmbedding(about)(q, pos[None])
    theirs = modeling_gpt_neox.apply_rotary_pos_emb(q, k, cos, sin)
    torch.testing.assert_close(
        torch.matmul(*swapped(turned)), torch.matmul(*swapped(theirs)), rtol=0, atol=1e-4
    )
