"""The file that `pebench new` writes."""

from pebench.suite.results.names import name_problem

TEMPLATE = '''"""Say in a sentence what is new here, and cite the paper."""

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Shape, rope_frequencies, rotate
from pebench.encodings.registry import register
from pebench.encodings.tuned import Tuned


@register("{name}")
class {cls}(Tuned):
    """RoPE with one learned clock speed per head. Change this into your encoding.

    The other hooks are `positions`, `embed`, `columns`, `bias` or `by_distance`, `sight`, `weights`, `form`, `values`
    and `output`; their docstrings in pebench.encodings.base say what each receives and returns. Positions are always
    passed in: never guess them from a shape.
    """

    title = "{title}"
    paper = "unpublished"
    family = "multiplicative"
    formula = r"\\ell_{{ij}} = q_i^\\top R\\big((j-i)\\,s_h\\theta\\big)\\,k_j / \\sqrt d"
    relative = True  # claimed, and checked: a shift of all positions changes nothing
    norm_preserving = True  # claimed, and checked: q and k keep their norms

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))  # kept in self.frequencies, which `@yarn` may change
        self.log_speed = nn.Parameter(torch.zeros(shape.layers, shape.heads))

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        speed = self.log_speed[at.layer].exp()  # (H,)
        angle = at.place * self.frequencies * speed[:, None, None]  # (H, T, d/2)
        return rotate(q, angle), rotate(k, angle)
'''


METHOD = '''"""Say in a sentence what is new here, and cite the paper."""

import torch
from torch import Tensor

from pebench.encodings.extension import Retuned, method


@method("{name}")  # with `within=True` where texts of the trained length are claimed to be read unchanged
class {cls}(Retuned):
    """Slow planes are divided by the factor, fast ones stay. Change this into your method.

    A method that changes distances instead derives from `Windowed` or `Regrouped` of pebench.encodings.extension, and
    says in `views` and `chosen` how each pair of query and key is seen.
    """

    title = "{title}"
    paper = "unpublished"
    formula = r"\\theta_m \\mapsto \\theta_m / s \\text{{ where }} L\\theta_m < 2\\pi"

    @staticmethod
    def change(frequencies: Tensor, factor: float, length: int) -> Tensor:
        """Frequencies (..., planes) for texts `factor` times as long as the training's `length` tokens."""
        slow = frequencies * length < 2 * torch.pi  # less than one turn in training
        return torch.where(slow, frequencies / factor, frequencies)
'''


class TemplateError(ValueError):
    """A name that no new encoding can have."""


def encoding_file(name: str) -> tuple[str, str]:
    """The text of the file and the name of its class.

    >>> encoding_file("my_idea")[1]
    'MyIdea'
    """
    return filled(TEMPLATE, name)


def method_file(name: str) -> tuple[str, str]:
    """The same of a method of context extension."""
    return filled(METHOD, name)


def filled(template: str, name: str) -> tuple[str, str]:
    """A template with this name in it, and the name of the class. TemplateError where it is no name."""
    if problem := name_problem(name):
        raise TemplateError(f"{name!r} {problem}")
    cls = "".join(part.capitalize() for part in name.split("_"))
    return template.format(name=name, cls=cls, title=name.replace("_", " ").capitalize()), cls
