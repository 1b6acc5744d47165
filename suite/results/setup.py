"""The setup in a record: what was trained and measured, in the words of its JSON file.

A record from elsewhere may lack a key or hold another type, so code that reads a stranger's record checks each value.
"""

from typing import TypedDict


class Model(TypedDict, total=False):
    """The size of a model; a pretrained one has also a name, a hash and its attention's shape."""

    layers: int
    width: int
    heads: int
    name: str
    sha256: str  # of its weights
    kv_heads: int
    parameters: int
    rope_base: float


class Corpus(TypedDict, total=False):
    """The text that a task reads: books-v1, `user:` and a file's name, or the name of a token dataset."""

    name: str
    sha256: str
    revision: str  # of a token dataset, like the next two
    tokenizer: str
    tokens: str  # a whole number


class Setup(TypedDict, total=False):
    """What was trained and measured. A certificate has a family and a title alone."""

    task_family: str
    task_title: str
    model: Model
    train_length: int  # in the unit of the task
    steps: int
    tokens: int  # of a step
    learning_rate: float  # the peak
    warmup: float  # share of the steps
    weight_decay: float
    clip: float  # largest norm of a gradient
    floor: float  # the last learning rate, as a share of the peak
    gate: float  # least score at the training length
    corpus: Corpus
    lengths: list[int]  # of an extension: in tokens
    factor: float  # of an extension: the longest length over the trained one
