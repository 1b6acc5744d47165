"""Tokens a second of `pebench extend` beside transformers and, where its package is installed, llama.cpp.

    python -m benchmarks.extend --tokens 2048 --rounds 3

All read the same text on one thread: SmolLM2 as `pebench data prepare --smollm2` makes it. llama.cpp reads the file in
4 bits out of the same wheel (`--gguf FILE`), by the package xllamacpp. They take turns, and the median processor time
counts.

The limit is what large products of the same precision reach, timed in the same turns. The work is 2 operations a weight
of the blocks and token, and 4 d a head and pair of tokens.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer

from pebench.encodings.extension import extended
from pebench.suite.extend import smollm2
from pebench.suite.extend.attention import flash
from pebench.suite.extend.checkpoint import Architecture, load_checkpoint
from pebench.suite.extend.model import CHUNK, Model, Reader
from pebench.suite.lm.native.stretch import serves, stretch
from pebench.suite.runs.machine import processor

DECODED = 16  # tokens
KEYS = 16_384  # of the timing of attention alone
PRODUCTS = 50  # of the timing of the limit: a busy other hyperthread takes its share of them, as of all else


class Ours:
    """Our forward pass in one precision, with a method."""

    def __init__(self, model: Model):
        self.reader = Reader(model)

    def prefill(self, text: torch.Tensor) -> None:
        self.reader.rewind(0)
        self.reader(text)

    def decode(self, text: torch.Tensor) -> None:
        model, cache = self.reader.model, self.reader.cache
        token = text[-1:]
        for _ in range(DECODED):
            token = model.logits(model.read(token, cache)).argmax(-1)


class Theirs:
    """transformers in one precision."""

    def __init__(self, folder: Path, dtype: torch.dtype):
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self.cache = None

    @torch.no_grad()
    def prefill(self, text: torch.Tensor) -> None:
        self.cache = self.model(text[None], use_cache=True, logits_to_keep=1).past_key_values

    @torch.no_grad()
    def decode(self, text: torch.Tensor) -> None:
        token = text[-1:]
        for _ in range(DECODED):
            out = self.model(token[None], past_key_values=self.cache, use_cache=True)
            self.cache, token = out.past_key_values, out.logits[0, -1:].argmax(-1)


class LlamaCpp:
    """llama.cpp on one thread, with the weights in 4 bits."""

    def __init__(self, file: Path, tokens: int):
        package = importlib.import_module("xllamacpp")
        params = package.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel, params.verbosity = tokens + 2 * DECODED, 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        self.server, self.kernels = package.Server(params), package.get_system_info().strip(" |")

    def complete(self, text: torch.Tensor, tokens: int, cached: bool) -> None:
        self.server.handle_completions(
            {
                "prompt": text.tolist(),
                "n_predict": tokens,
                "cache_prompt": cached,
                "temperature": 0,
                "ignore_eos": True,
            }
        )

    def prefill(self, text: torch.Tensor) -> None:
        self.complete(text, 1, cached=False)

    def decode(self, text: torch.Tensor) -> None:
        self.complete(text, DECODED, cached=True)  # the last token of the text is read again


def seconds(work: Callable[[torch.Tensor], None], text: torch.Tensor) -> float:
    """Processor seconds."""
    began = time.process_time()
    work(text)
    return time.process_time() - began


def multiplications(about: Architecture, weights: int, tokens: int) -> float:
    """Floating-point operations of reading a text: products with the weights of the blocks, and causal attention."""
    return 2 * weights * tokens + 2 * tokens**2 * about.layers * about.heads * about.head_dim


def limit(dtype: torch.dtype) -> float:
    """Operations a second of large products, one after the other as in a model."""
    a, b = torch.randn(1024, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    torch.mm(a, b)
    return PRODUCTS * 2 * 1024 * 2048 * 2048 / spent(lambda: [torch.mm(a, b) for _ in range(PRODUCTS)])


def spent(work: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def attention(rounds: int) -> str:
    """How long a chunk of a layer of SmolLM2 reads KEYS keys: our kernel and PyTorch's operator in turn."""
    q, k, v = (torch.randn(1, 3, rows, 64).bfloat16() for rows in (3 * CHUNK, KEYS, KEYS))
    if not serves(q, k, v):
        return "no AMX tiles here: PyTorch's operator reads all keys"
    times = [
        (spent(lambda: stretch(q, k, v, 0.125)), spent(lambda: flash(q, k, v, scale=0.125)))
        for _ in range(rounds)
    ]
    ours, theirs = (median(column) * 1000 for column in zip(*times, strict=True))
    return f"a chunk reads {KEYS:,} keys in {ours:.0f} ms, by PyTorch's operator in {theirs:.0f} ms"


def main(
    tokens: Annotated[int, typer.Option(min=512, help="Length of the text.")] = 2048,
    rounds: Annotated[int, typer.Option(min=1, help="Of all, in turn.")] = 3,
    gguf: Annotated[Path | None, typer.Option(help="The model for llama.cpp.")] = None,
) -> None:
    """Print tokens a second of reading and of decoding."""
    torch.set_num_threads(1)
    typer.echo(f"{processor()}, one thread: {attention(4 * rounds)}")
    checkpoint = load_checkpoint(smollm2.prepare(typer.echo))
    text = torch.randint(100, 40_000, (tokens,), generator=torch.Generator().manual_seed(0))
    readers: dict[str, Ours | Theirs | LlamaCpp] = {}
    kinds = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    for name, dtype in kinds.items():
        model = Model(checkpoint, checkpoint.rope(), dtype)
        readers[f"pebench {name}"] = Ours(model)
        readers[f"pebench {name}, dual_chunk"] = Ours(
            model.with_encoding(extended(checkpoint.rope(), "dual_chunk", 4.0))
        )
        readers[f"transformers {name}"] = Theirs(checkpoint.folder, dtype)
    if gguf and importlib.util.find_spec("xllamacpp"):
        readers["llama.cpp 4 bits"] = peer = LlamaCpp(gguf, tokens)
        typer.echo(f"kernels of llama.cpp: {peer.kernels}")
    else:
        typer.echo("llama.cpp is left out: it needs --gguf FILE and the package xllamacpp")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    limits: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for name, reader in readers.items():
            both = seconds(reader.prefill, text), seconds(reader.decode, text)
            if number:  # the first round warms up
                times[name].append(both)
        for kind, dtype in kinds.items():
            limits[kind].append(limit(dtype))
    weights = sum(x.numel() for name, x in checkpoint.weights.items() if "layers" in name)
    work = multiplications(checkpoint.about, weights, tokens)
    typer.echo(f"{processor()}, one thread, {tokens} tokens, median processor time of {rounds} rounds")
    for name, measured in times.items():
        prefill, decode = (median(column) for column in zip(*measured, strict=True))
        kind = next((kind for kind in kinds if kind in name), None)
        share = f"{work / prefill / median(limits[kind]):.0%} of the limit" if kind else ""
        typer.echo(
            f"{name:28} prefill {tokens / prefill:8.1f} tokens/s  decode {DECODED / decode:6.1f} tokens/s  {share}"
        )


if __name__ == "__main__":
    typer.run(main)
