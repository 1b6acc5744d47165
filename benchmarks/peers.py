"""Training steps of the suite and of other implementations, for benchmarks/training.py.

All get fused AdamW, the same clipping, tied embeddings and a vocabulary of 256.
"""

import importlib
import os
import subprocess
import sys
import sysconfig
import time
import types
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.precision import products
from pebench.encodings.registry import resolve
from pebench.suite.experiment.profiles import Plan
from pebench.suite.experiment.speed import Timed
from pebench.suite.experiment.training import Recipe
from pebench.suite.lm.model import Size

ENVIRONMENT = Path(__file__).parent.parent / "build" / "peers"
LOCK = Path(__file__).parent.parent / "requirements.lock"
# litgpt goes without what it depends on: it asks for an older huggingface_hub than transformers and the suite can use.
PACKAGES = (("transformers",), ("x-transformers",), ("lightning", "jsonargparse"), ("--no-deps", "litgpt"))
VOCAB = 256
Step = Callable[[], float]  # does a step, and returns the seconds of processor time that it took
Forward = Callable[[Tensor], Tensor]  # tokens to logits


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    heads: int
    length: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.layers} layers, d={self.width}, T={self.length}, batch {self.batch}"

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.length * self.batch

    @property
    def hidden(self) -> int:
        return Size(self.layers, self.width, self.heads, VOCAB).hidden


TINY, SMALL = Shape(2, 64, 2, 64, 16), Shape(4, 128, 4, 256, 8)
MEDIUM, LONG = Shape(6, 384, 6, 512, 4), Shape(4, 128, 4, 4096, 1)


def ours(shape: Shape, encoding: str) -> Step:
    """A step of the suite, as its task `throughput` times it."""
    recipe = Recipe(length=shape.length, steps=0, tokens=shape.tokens)
    plan = Plan(shape.layers, shape.width, shape.heads, recipe, (1,), 1)
    timed = Timed(resolve(encoding)[1], plan, torch.device("cpu"))
    return lambda: timed.train(shape.length)


def in_float32(shape: Shape, encoding: str) -> Step:
    """Our step as on a processor that multiplies in float32 alone."""
    with products("float32"):
        step = ours(shape, encoding)

    def take() -> float:
        with products("float32"):
            return step()

    return take


def theirs(shape: Shape, model: nn.Module, forward: Forward, autocast: bool) -> Step:
    """A step of a peer: its model, and the loss and optimiser that are the same for all."""
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(VOCAB, (shape.batch, shape.length + 1), generator=torch.Generator().manual_seed(0))
    model.train()

    def step() -> float:
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = forward(tokens[:, :-1])
        cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad()
        return time.process_time() - start

    return step


def llama(shape: Shape, compiled: bool = False) -> tuple[nn.Module, Forward]:
    """Hugging Face's, which normalises neither q nor k."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.length,
        tie_word_embeddings=True,
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    run = torch.compile(model) if compiled else model
    return model, lambda tokens: run(input_ids=tokens).logits


def x_transformers(shape: Shape) -> tuple[nn.Module, Forward]:
    from x_transformers import Decoder, TransformerWrapper

    decoder = Decoder(
        dim=shape.width,
        depth=shape.layers,
        heads=shape.heads,
        attn_dim_head=shape.width // shape.heads,
        rotary_pos_emb=True,
        attn_flash=True,
        use_rmsnorm=True,
        ff_glu=True,
        ff_swish=True,
        ff_no_bias=True,
        ff_mult=shape.hidden / shape.width,
    )
    model = TransformerWrapper(
        num_tokens=VOCAB,
        max_seq_len=shape.length,
        use_abs_pos_emb=False,
        tie_embedding=True,
        attn_layers=decoder,
    )
    return model, model


def litgpt(shape: Shape) -> tuple[nn.Module, Forward]:
    from litgpt.config import Config
    from litgpt.model import GPT

    config = Config(
        block_size=shape.length,
        vocab_size=VOCAB,
        padded_vocab_size=VOCAB,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.width,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        intermediate_size=shape.hidden,
        norm_qk=True,
    )
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    # It leaves embeddings at N(0, 1), where a tied head starts from a saturated softmax.
    nn.init.normal_(model.lm_head.weight, std=0.02)
    return model, model


def grape(checkout: Path, file: str, shape: Shape) -> tuple[nn.Module, Forward]:
    """A model file of the GRAPE reference. Its KV-shift, which is off here, would need Triton."""
    package = types.ModuleType("grape_reference")
    package.__path__ = [os.fspath(checkout / "model")]
    sys.modules["grape_reference"] = package
    shift = types.ModuleType("grape_reference.kv_shift")
    sys.modules[shift.__name__] = shift
    vars(shift)["ShiftLinear"] = None
    module = importlib.import_module(f"grape_reference.{file}")
    config = module.GPTConfig(
        vocab_size=VOCAB,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.width,
        head_dim=shape.width // shape.heads,
        block_size=shape.length,
        p_head_dim=8,
    )
    model = module.GPT(config)
    return model, lambda tokens: model(tokens, output_all_seq=True)[0]


def rivals(shape: Shape, checkout: Path | None, encoding: str) -> dict[str, Callable[[], Step]]:
    """The peers that have this encoding, each in float32 and under autocast."""
    models: dict[str, Callable[[], tuple[nn.Module, Forward]]] = {}
    if encoding == "rope":
        models["Hugging Face Llama"] = lambda: llama(shape)
        models["Hugging Face Llama, compiled"] = lambda: llama(shape, compiled=True)
        models["x-transformers"] = lambda: x_transformers(shape)
        models["litgpt"] = lambda: litgpt(shape)
    if checkout:
        file = {"rope": "llama-mha-rope", "grape_ap": "llama-mha-grape-ap-v1"}[encoding]
        models["GRAPE reference"] = lambda: grape(checkout, file, shape)
    return {
        f"{name}, {'autocast' if autocast else 'float32'}": lambda make=make, autocast=autocast: theirs(
            shape, *make(), autocast
        )
        for name, make in models.items()
        for autocast in (False, True)
    }


def environment() -> Path:
    """The Python of the environment with the peers, which sees the packages of this one; made on the first call."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        own = sysconfig.get_path("purelib", vars={"base": os.fspath(ENVIRONMENT)})
        line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        Path(own, "above.pth").write_text(line)
    for packages in PACKAGES:
        known = [python, "-c", f"import importlib.metadata as m; m.version({packages[-1]!r})"]
        if subprocess.run(known, capture_output=True).returncode:
            print(f"installing {packages[-1]} into {ENVIRONMENT}", flush=True)
            command = [python, "-m", "pip", "install", "--quiet", "--constraint", LOCK, *packages]
            if subprocess.run(command).returncode:
                print(f"{packages[-1]} cannot be installed: its rows will be missing")
    return python
