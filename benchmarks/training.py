"""Time of a whole training step against other implementations: forward, backward, clipping, AdamW.

    python benchmarks/training.py --grape ../GRAPE

Processor time of one thread, all in one process and in turn, so that a machine that slows down slows all of them.
The peers are installed into an environment of their own, build/peers, over the one that starts this script. The
reference code of GRAPE (github.com/model-architectures/GRAPE) is no package: `--grape` names a checkout, and
without it its rows are missing. All get fused AdamW, the same clipping, flushed denormals, tied embeddings and a
vocabulary of 256.
"""

import argparse
import importlib
import os
import resource
import statistics
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

from pebench.encodings.registry import resolve
from pebench.suite.model import Size
from pebench.suite.profiles import Plan
from pebench.suite.speed import Timed
from pebench.suite.training import Recipe

ENVIRONMENT = Path(__file__).parent.parent / "build" / "peers"
LOCK = Path(__file__).parent.parent / "requirements.lock"
# litgpt goes without what it depends on: it asks for an older huggingface_hub than transformers and the suite can use.
PACKAGES = (("transformers",), ("x-transformers",), ("lightning", "jsonargparse"), ("--no-deps", "litgpt"))
VOCAB = 256
WARM_UP = 3  # steps; torch.compile may compile again in the second
ENCODINGS = ("alibi", "fox", "grape_a_qk", "t5_bias", "grape_ap")
EXPERIMENTS = ("small", "medium", "long", "encodings")
Step = Callable[[], float]  # does a step, and returns the seconds that it took
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
    def hidden(self) -> int:
        return Size(self.layers, self.width, self.heads, VOCAB).hidden


SMALL, MEDIUM, LONG = Shape(4, 128, 4, 256, 8), Shape(6, 384, 6, 512, 4), Shape(4, 128, 4, 4096, 1)


def ours(shape: Shape, encoding: str) -> Step:
    """A step of the suite, as its task `throughput` times it."""
    recipe = Recipe(length=shape.length, steps=0, tokens=shape.length * shape.batch)
    plan = Plan(shape.layers, shape.width, shape.heads, recipe, (1,), 1)
    timed = Timed(resolve(encoding)[1], plan, torch.device("cpu"))
    return lambda: timed.train(shape.length)


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


def measured(shape: Shape, encoding: str, others: dict[str, Callable[[], Step]], rounds: int) -> None:
    """Print the time of our step with this encoding, and of each other one with its ratio to ours."""
    print(f"\n{shape.name}: {encoding}")
    steps = {"ours": ours(shape, encoding)}
    for name, make in others.items():
        try:
            step = make()
            for _ in range(WARM_UP):
                step()
        except Exception as e:  # whatever another version of a peer stumbles over
            print(f"  {name:<44} not run: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}")
        else:
            steps[name] = step
    for _ in range(WARM_UP):
        steps["ours"]()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name].append(step())
    for name, seconds in taken.items():
        ratio = statistics.median(t / own for t, own in zip(seconds, taken["ours"], strict=True))
        milliseconds = 1000 * statistics.median(seconds)
        print(f"  {name:<44} {milliseconds:9.1f} ms {ratio:7.2f} x ours", flush=True)


def memory(shape: Shape, checkout: Path | None, who: str) -> float:
    """MiB that a step of `grape_ap` takes at its peak above the idle model, in a process of its own."""
    command = [sys.executable, __file__, "--memory", who, *(("--grape", checkout) if checkout else ())]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak(shape: Shape, checkout: Path | None, who: str) -> float:
    """What `memory` measures, in the process that measures it."""
    import psutil

    step = ours(shape, "grape_ap") if who == "ours" else rivals(shape, checkout, "grape_ap")[who]()
    idle = psutil.Process().memory_info().rss
    step()
    step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - idle) / 2**20


def experiment(name: str, checkout: Path | None, rounds: int) -> None:
    if name == "small":
        measured(SMALL, "rope", rivals(SMALL, checkout, "rope"), rounds)
        measured(SMALL, "grape_ap", rivals(SMALL, checkout, "grape_ap"), rounds)
    elif name == "medium":
        measured(MEDIUM, "rope", rivals(MEDIUM, checkout, "rope"), rounds)
    elif name == "long":
        others = rivals(LONG, checkout, "grape_ap")
        measured(LONG, "grape_ap", others, rounds)
        for who in ("ours", *others):
            print(f"  {who:<44} {memory(LONG, checkout, who):9.0f} MiB at the peak of a step")
    else:
        for shape in (SMALL, LONG):
            own = {e: lambda e=e, shape=shape: ours(shape, e) for e in ENCODINGS}
            measured(shape, "rope", own, rounds)


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grape", type=Path, help="a checkout of github.com/model-architectures/GRAPE")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each that are timed")
    parser.add_argument("--only", default=",".join(EXPERIMENTS), help="of small, medium, long, encodings")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if Path(sys.prefix) != ENVIRONMENT.resolve():
        os.execv(python := os.fspath(environment()), [python, *sys.argv])
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    if chosen.memory:
        print(peak(LONG, chosen.grape, chosen.memory))
        return
    print(f"torch {torch.__version__}, one thread, median of {chosen.rounds} steps")
    for name in chosen.only.split(","):
        experiment(name, chosen.grape, chosen.rounds)


if __name__ == "__main__":
    main()
