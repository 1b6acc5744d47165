"""A language model over GPT-2's tokens as lm-eval sees one. It imports lm-eval, which takes seconds."""

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM

from pebench.tasks.data.tokens import END_OF_TEXT, tokenizer
from pebench.tasks.lm_eval.reader import Reader, forced_choice

__all__ = ["TokenReader", "forced_choice"]


class TokenReader(Reader):
    """A `Reader` whose text is encoded as GPT-2's: an answer begins where lm-eval's own models let it begin."""

    @property
    def eot_token_id(self) -> int:
        return END_OF_TEXT

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **options: Any) -> list[int]:
        return list(tokenizer().encode(string).ids)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Context and answer are encoded together, as lm-eval's models do it."""
        return TemplateLM.loglikelihood(self, requests, disable_tqdm=True)
