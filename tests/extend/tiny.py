"""A tiny Llama-shaped checkpoint with random weights, and a tokenizer of bytes."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from pebench.suite.extend.checkpoint import Checkpoint, load_checkpoint


def config(**changed) -> LlamaConfig:
    about = {
        "vocab_size": 300,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rope_theta": 1000.0,
        "initializer_range": 0.3,
    }
    return LlamaConfig(**{**about, **changed})


def write(folder: Path, **changed) -> LlamaForCausalLM:
    """Write a checkpoint into a folder; the model as transformers has it."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(config(**changed)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: n for n, sign in enumerate(signs)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return model


def made(folder: Path, **changed) -> tuple[Checkpoint, LlamaForCausalLM]:
    """The checkpoint as we have it, and as transformers has it."""
    model = write(folder, **changed)
    return load_checkpoint(folder), model


def tokens(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (n,), generator=torch.Generator().manual_seed(seed))
