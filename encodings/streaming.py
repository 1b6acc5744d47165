from torch import Tensor

from pebench.encodings.base import At, Keys, distance
from pebench.encodings.extension import View, Windowed, method, same


@method("streaming", within=True)
class Streaming(Windowed):
    """A query sees the nearest keys and the first four, its sinks, as if nothing lay between (Xiao et al., 2024).

    All it sees fits the training length L, whatever the factor: the nearest L - 4 keys and the sinks. The sinks
    keep the places 0 to 3 while the query stands at L - 1 (section 3.2: positions within the cache).
    """

    title = "windows with attention sinks (StreamingLLM)"
    paper = "arXiv:2309.17453"
    formula = (
        r"i - j \mapsto i - j \text{ where } i - j < L - 4,\quad \min(i, L - 1) - j \text{ where } j < 4,\quad "
        r"\text{other keys hidden}"
    )
    sinks = 4

    @property
    def window(self) -> int:
        return max(1, self.shape.train_length - self.sinks)

    def views(self) -> tuple[View, View]:
        last = max(self.sinks, self.shape.train_length) - 1
        return View(same, same), View(lambda pos: pos.clamp(max=last), same)

    def hidden(self, at: At, keys: Keys) -> Tensor:
        return (distance(at.pos, keys.pos) >= self.window) & (keys.pos >= self.sinks)[..., None, :]
