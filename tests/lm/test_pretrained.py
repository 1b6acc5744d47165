"""Context extension on a model that was really pretrained with RoPE: SmolLM2-135M (tests/smollm2.py)."""

import pytest
import torch
from torch.nn.functional import linear

from tests import smollm2

TOKENS = 14336


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return smollm2.loaded()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_our_forward_pass_is_that_of_transformers(model):
    tokens, (_, rope) = smollm2.book(256), next(smollm2.encodings(model, 2.0))
    with torch.no_grad():
        ours = linear(smollm2.hidden(model, rope, tokens), model.lm_head.weight)
        torch.testing.assert_close(ours, model(tokens).logits, rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_extended_contexts_hold_where_the_trained_one_breaks(model):
    tokens = smollm2.book(TOKENS)
    beyond = {
        method: smollm2.losses(model, encoding, tokens)[12288:].mean().item()
        for method, encoding in smollm2.encodings(model, 2.0)
    }
    assert beyond["none"] > beyond["ntk"] + 1
    assert max(beyond["pi"], beyond["ntk"], beyond["yarn"]) < 5
    assert max(beyond["ntk"], beyond["yarn"]) < beyond["pi"]
