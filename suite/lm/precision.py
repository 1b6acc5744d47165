"""In which precision matrix products are fast on a machine: like its processor, no part of the definition."""

import functools
from pathlib import Path
from typing import Literal

import torch

Kind = Literal["float16", "bfloat16", "float32"]


@functools.cache
def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 matrix products are faster than float32's here."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and multiplies_bf16(cpuinfo.read_text())


def multiplies_bf16(cpuinfo: str) -> bool:
    """Whether a processor is faster in bfloat16: eight times with AMX, twice on AMD's with AVX512_BF16.

    On Intel's without AMX that instruction is slower than float32.

    >>> [multiplies_bf16(text) for text in ("avx512_bf16 amx_bf16", "AuthenticAMD avx512_bf16", "avx512_bf16")]
    [True, True, False]
    """
    return "amx_bf16" in cpuinfo or ("avx512_bf16" in cpuinfo and "AuthenticAMD" in cpuinfo)


def precision(device: torch.device) -> torch.autocast:
    """bfloat16 matrix products over float32 parameters, residuals and softmax where that is faster, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bf16(device))


def multiplies_in(device: torch.device) -> Kind:
    """The kind of number that PyTorch's products read in a training here."""
    return "bfloat16" if fast_bf16(device) else "float32"


@functools.cache
def fast_fp16() -> bool:
    """Whether this processor multiplies in half precision: twice as fast as in float32, with AVX512_FP16."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512_fp16" in cpuinfo.read_text()
