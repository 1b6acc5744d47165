"""16,384 tokens fit into memory with every encoding: what must be T x T is computed in blocks of queries."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pebench.encodings.base import At, Keys
from pebench.encodings.registry import names, resolve
from pebench.suite.lm.attention import attend, queries
from pebench.suite.lm.model import LM, Size
from pebench.suite.runs.machine import peak_memory

TOKENS = 16384
LAST = 1024  # queries: at least two blocks, each with all keys, so a whole forward pass needs no more memory
LIMIT = 24 * 2**30


def peak(name: str) -> int:
    """The most bytes that this process held, after attention of the last queries in every layer."""
    cls = resolve(name)[1]
    lm = LM(Size(layers=2, width=64, heads=4, vocab=64), cls, TOKENS // 16, 0).eval()
    encoding, rng = lm.encoding, torch.Generator().manual_seed(0)
    length = min(TOKENS, encoding.max_length or TOKENS)
    index = torch.arange(length)
    pos = encoding.positions(index, index[None], {})
    for layer in range(2):
        x = torch.randn(1, length, 64, generator=rng)
        q, k, v = torch.randn(3, 1, 4, length, 16, generator=rng)
        with torch.no_grad():
            at, keys = At.whole(layer, x, v, pos), Keys(index, pos)
            columns = encoding.columns(q, k, at)
            if columns is not None:
                beside = [side.expand(1, 4, length, -1) for side in columns]
                at, keys = at._replace(columns=beside[0]), keys._replace(columns=beside[1])
            q, k = encoding.qk(q, k, at)
            y = attend(encoding, queries(at, slice(-LAST, None)), q[:, :, -LAST:], k, v, keys)
        assert y.isfinite().all()
    return peak_memory(torch.device("cpu")) or 0


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_16384_tokens_fit(name: str) -> None:
    code = f"from tests.encodings.test_long import peak; print(peak({name!r}))"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert int(run.stdout) < LIMIT
