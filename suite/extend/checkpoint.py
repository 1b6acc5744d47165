"""A Llama-shaped checkpoint by its folder: config.json, *.safetensors and tokenizer.json, as the Hub has them."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from pebench.encodings.base import Encoding, Shape, rope_frequencies
from pebench.encodings.extension import llama3, pi
from pebench.encodings.rope import Rotary
from pebench.encodings.streams import build

PARTS = (
    "input_layernorm.weight",
    "self_attn.q_proj.weight",
    "self_attn.k_proj.weight",
    "self_attn.v_proj.weight",
    "self_attn.o_proj.weight",
    "post_attention_layernorm.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
)
BIASED = (
    *(f"self_attn.{side}_proj.bias" for side in "qkvo"),
    *(f"mlp.{side}_proj.bias" for side in ("gate", "up", "down")),
)
ACTIVATIONS = ("silu", "swish")
# Others have the names of a Llama's weights and compute something else with them: Granite, SmolLM3, Helium, Ernie 4.5.
KINDS = ("llama", "mistral", "qwen2")
NUMBER = "12345"  # what a tokenizer must read back
MULTIPLIERS = ("attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling")


class ModelError(ValueError):
    """A folder that is no model which can be read here, with the reason."""


@dataclass(frozen=True)
class Architecture:
    """The sizes of a Llama-shaped model."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    eps: float
    trained: int  # tokens, the longest text of its training
    base: float  # of RoPE's frequencies
    scaling: tuple[tuple[str, Any], ...] = ()  # how RoPE was scaled while it was trained

    @property
    def shape(self) -> Shape:
        """What its encoding may know of it."""
        return Shape(self.layers, self.heads, self.head_dim, self.trained)


class PretrainedRoPE(Rotary):
    """The RoPE of a pretrained model, whose base is not 10,000."""

    title = "RoPE of a pretrained model"
    paper = "arXiv:2104.09864"
    formula = r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d"

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))


@dataclass(frozen=True)
class Checkpoint:
    """A model on the disk. Weights are mapped into memory: processes share a copy of those that they do not convert."""

    folder: Path
    about: Architecture
    weights: dict[str, Tensor]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer. ModelError where the folder has none, or another model's."""
        file = self.folder / "tokenizer.json"
        if not file.is_file():
            raise ModelError(f"{self.folder} has no tokenizer.json; put the model's own there")
        try:
            found = Tokenizer.from_file(str(file))
        except Exception as e:  # tokenizers raises no narrower class
            raise ModelError(f"{file} cannot be read: {e}; put the model's own there") from e
        found.no_truncation()  # texts are longer than what it may have been saved for
        found.no_padding()
        if (size := found.get_vocab_size()) > self.about.vocab:
            raise ModelError(
                f"{file} has {size} tokens, and the model {self.about.vocab}; put the model's own there"
            )
        told = found.decode(found.encode(f" {NUMBER}", add_special_tokens=False).ids)
        if NUMBER not in told:
            raise ModelError(
                f"{file} reads {NUMBER!r} back as {told!r}, so no answer could be right; use a model whose tokenizer "
                "keeps numbers"
            )
        return found

    @cached_property
    def sha256(self) -> str:
        """What the model computes: the hash of its sizes, the names and bytes of its weights, and its tokenizer."""
        parts = (repr(self.about), content(self.weights), self.tokenizer.to_str())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without special ones."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def rope(self) -> Encoding:
        """Its RoPE as it was trained."""
        rope = build(PretrainedRoPE, self.about.shape).eval()
        assert isinstance(rope, PretrainedRoPE)
        rope.retune(frequencies(self.about))
        return rope


def frequencies(about: Architecture) -> Tensor:
    """The frequencies (d/2,) that a model was trained with. ModelError where their scaling is not known here."""
    plain, scaling = rope_frequencies(about.head_dim, about.base), dict(about.scaling)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return plain
    if kind == "linear":
        return pi(plain, float(scaling["factor"]), about.trained)
    if kind == "llama3" and (scaling["low_freq_factor"], scaling["high_freq_factor"]) == (1, 4):
        return llama3(plain, float(scaling["factor"]), int(scaling["original_max_position_embeddings"]))
    raise ModelError(f"RoPE is scaled by {kind!r} in this model; known are default, linear and llama3")


def architecture(config: dict[str, Any]) -> Architecture:
    """The sizes in a config.json. ModelError where it lacks one, or asks for something else than a Llama."""
    if not isinstance(config, dict):
        raise ModelError("it holds no object; put the model's own config.json there")
    try:
        scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
        heads, width = int(config["num_attention_heads"]), int(config["hidden_size"])
        about = Architecture(
            layers=int(config["num_hidden_layers"]),
            width=width,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or width // heads),
            vocab=int(config["vocab_size"]),
            eps=float(config["rms_norm_eps"]),
            trained=trained_length(config, scaling),
            base=float(scaling.get("rope_theta") or config.get("rope_theta") or 10_000.0),
            scaling=tuple(sorted((k, v) for k, v in scaling.items() if k != "rope_theta")),
        )
        frequencies(about)
    except (AttributeError, KeyError, TypeError, ZeroDivisionError) as e:
        raise ModelError(f"config.json is of no Llama-shaped model: {type(e).__name__} {e}") from e
    if about.heads % about.kv_heads:
        raise ModelError(f"{about.heads} heads cannot share {about.kv_heads} heads of keys")
    if (act := config.get("hidden_act", "silu")) not in ACTIVATIONS:
        raise ModelError(f"its activation is {act!r}; only SwiGLU with silu is computed here")
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        raise ModelError("its attention has a sliding window, which is not computed here")
    if float(config.get("partial_rotary_factor") or scaling.get("partial_rotary_factor") or 1) != 1:
        raise ModelError("its RoPE turns a part of each head, which is not computed here")
    demand_kind(config)
    return about


def trained_length(config: dict[str, Any], scaling: dict[str, Any]) -> int:
    """The longest text of a model's training.

    With a linear scaling `max_position_embeddings` may be the length before it, as transformers advises, or the one
    after it. Two other keys say which, where they stand.
    """
    length = int(config["max_position_embeddings"])
    if scaling.get("rope_type", scaling.get("type")) != "linear":
        return length
    if longest := config.get("max_sequence_length"):
        return int(longest)
    before = scaling.get("original_max_position_embeddings")
    return round(int(before) * float(scaling["factor"])) if before else length


def demand_kind(config: dict[str, Any]) -> None:
    """ModelError where a model with the weights of a Llama computes something else with them."""
    if (kind := config.get("model_type")) not in KINDS:
        raise ModelError(
            f"its model_type is {kind!r}; only {', '.join(KINDS)} are computed here, so use a model of these"
        )
    if not all(config.get("no_rope_layers") or ()):
        raise ModelError("some of its layers have no RoPE (no_rope_layers), which is not computed here")
    if scaled := [name for name in MULTIPLIERS if config.get(name, 1) not in (1, None)]:
        raise ModelError(f"it has {scaled[0]} = {config[scaled[0]]!r}, which is not computed here")
    if other := set(config.get("layer_types") or ()) - {"full_attention"}:
        raise ModelError(f"some of its layers are {min(other)!r}, which is not computed here")


def biases(config: dict[str, Any]) -> tuple[str, ...]:
    """The biases of each layer in a model of this kind, as transformers has them."""
    if config["model_type"] == "qwen2":
        return BIASED[:3]  # of q, k and v
    if config["model_type"] == "mistral":
        return ()
    attention = BIASED[:4] if config.get("attention_bias") else ()
    return (*attention, *(BIASED[4:] if config.get("mlp_bias") else ()))


def load_checkpoint(folder: Path) -> Checkpoint:
    """The model in a folder. ModelError names the missing, broken or foreign part."""
    file = folder / "config.json"
    if not file.is_file():
        raise ModelError(
            f"{folder} is no model: it has no config.json; `pebench data prepare --smollm2` makes one, and the folder "
            "of a Llama-shaped checkpoint of the Hub is another"
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        about = architecture(config)
    except (OSError, ValueError) as e:
        raise ModelError(f"{file}: {e}") from e
    files = weight_files(folder)
    weights = dict[str, Tensor]()
    for part in files:
        try:
            weights |= load_file(part)
        except (SafetensorError, OSError) as e:
            raise ModelError(f"{part} cannot be read: {e}") from e
    weights = {name: x for name, x in weights.items() if not name.endswith("rotary_emb.inv_freq")}
    demand_llama(about, weights)
    demand_stated(config, about, weights)
    return Checkpoint(folder, about, weights)


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights: model.safetensors, else what its index names, else all. ModelError without any.

    Beside them some models have the same weights once more, under other names: Mistral's consolidated.safetensors.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise ModelError(
                f"{index} cannot be read ({type(e).__name__}); fetch it again, or remove it"
            ) from e
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ModelError(f"{folder} lacks {missing[0]}, which its index names; fetch all files")
        return [folder / name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} has no *.safetensors; other formats are not read")
    return files


def shapes(about: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of each weight, the optional ones too; -1 stands for any size."""
    d, q, k = about.width, about.heads * about.head_dim, about.kv_heads * about.head_dim
    sizes = ((d,), (q, d), (k, d), (k, d), (d, q), (d,), (-1, d), (-1, d), (d, -1))
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (about.vocab, d),
        "model.norm.weight": (d,),
        "lm_head.weight": (about.vocab, d),
    }
    for layer in range(about.layers):
        found |= {f"model.layers.{layer}.{name}": size for name, size in zip(PARTS, sizes, strict=True)}
        found |= {
            f"model.layers.{layer}.{name}": (n,)
            for name, n in zip(BIASED, (q, k, k, d, -1, -1, d), strict=True)
        }
    return found


def demand_llama(about: Architecture, weights: dict[str, Tensor]) -> None:
    """ModelError where the weights do not belong to a Llama-shaped model of these sizes."""
    expected = shapes(about)
    optional = ("lm_head.weight", *BIASED)
    missing = [n for n in expected if n not in weights and not n.endswith(optional)]
    unknown = [name for name in weights if name not in expected]
    if missing or unknown:
        problem = f"lacks {missing[0]}" if missing else f"has {unknown[0]}, which a Llama has not"
        count = len(missing) + len(unknown) - 1
        raise ModelError(f"the checkpoint {problem}" + (f" (and {count} more)" if count else ""))
    for name, x in weights.items():
        size = expected[name]
        if x.dim() != len(size) or any(n not in (-1, m) for n, m in zip(size, x.shape, strict=True)):
            shown = " x ".join("any" if n == -1 else str(n) for n in size)
            raise ModelError(f"{name} is {' x '.join(map(str, x.shape))}, and config.json says {shown}")
        if not x.dtype.is_floating_point:
            raise ModelError(f"{name} is of {x.dtype}; quantised checkpoints are not read")


def demand_stated(config: dict[str, Any], about: Architecture, weights: dict[str, Tensor]) -> None:
    """ModelError where config.json speaks of other biases or of another output layer than the weights have."""
    due = {f"model.layers.{n}.{name}" for n in range(about.layers) for name in biases(config)}
    if wrong := due ^ {name for name in weights if name.endswith(".bias")}:
        name = min(wrong)
        raise ModelError(
            f"{name} is {'missing' if name in due else 'there'}, against config.json; fetch both of one model"
        )
    head, tied = weights.get("lm_head.weight"), config.get("tie_word_embeddings", False)
    if head is None and not tied:
        raise ModelError(
            "the checkpoint lacks lm_head.weight, and config.json does not say tie_word_embeddings; fetch all files"
        )
    if tied and head is not None and not torch.equal(head, weights["model.embed_tokens.weight"]):
        raise ModelError(
            "lm_head.weight is not the embedding, to which config.json ties it; fetch both of one model"
        )


def content(weights: dict[str, Tensor]) -> str:
    """SHA-256 of the names and bytes of weights."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(f"{name} {weights[name].dtype}".encode())
        total.update(weights[name].contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()


def short_name(folder: Path) -> str:
    """What a model is called in records: its folder's name in plain signs.

    >>> short_name(Path("x/Llama-3.2 1B"))
    'llama-3.2-1b'
    """
    return re.sub(r"[^a-z0-9.]+", "-", folder.resolve().name.lower()).strip("-") or "model"
