"""A tiny Llama-shaped checkpoint with random weights, and a tokenizer that knows the words of hidden sentences."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from pebench.encodings.base import Encoding
from pebench.encodings.extension import extended as method_of
from pebench.suite.extend import items as asked
from pebench.suite.extend.checkpoint import Checkpoint, load_checkpoint
from pebench.suite.extend.searched import needs_search, with_divisors

VOCAB = 520


def config(**changed) -> LlamaConfig:
    about = {
        "vocab_size": VOCAB,
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
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    known = [
        words(key)
        for key in asked.KEYS
        for words in (lambda key: asked.said(key, "0"), asked.ask, asked.ask_all)
    ]
    known += [
        words(thing)
        for thing in asked.THINGS
        for words in (lambda thing: asked.stated(thing, "0"), asked.ask_thing)
    ]
    tokenizer.train_from_iterator(known, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return model


def made(folder: Path, **changed) -> tuple[Checkpoint, LlamaForCausalLM]:
    """The checkpoint as we have it, and as transformers has it."""
    model = write(folder, **changed)
    return load_checkpoint(folder), model


def tokens(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (n,), generator=torch.Generator().manual_seed(seed))


def book(seed: int, words: int = 4000) -> str:
    """A text of made-up words and sentences."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 8, (words,), generator=rng).tolist()
    letters = torch.randint(97, 123, (sum(lengths),), generator=rng).tolist()
    text, start = list[str](), 0
    for n, length in enumerate(lengths):
        text.append("".join(map(chr, letters[start : start + length])) + ("." if n % 9 == 8 else ""))
        start += length
    return " ".join(text)


def extended(checkpoint: Checkpoint, method: str, factor: float) -> Encoding:
    """The model's RoPE, extended; with divisors that no search found, where the method needs some."""
    if needs_search(method):
        checkpoint = with_divisors(checkpoint, factor, (1.0, factor**0.5, factor, 1.3 * factor))
    return method_of(checkpoint.rope(), method, factor)
