"""The tables that pictures of an encoding are drawn from."""

import csv
import io
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pebench.encodings.base import alibi_slopes, rope_frequencies
from pebench.encodings.registry import names, resolve
from pebench.leaderboard.app import encoding_figures as drawn
from pebench.suite.lm.model import LM, Size
from pebench.suite.proofs.probes import (
    SMALL,
    STEPS,
    Point,
    logits,
    masses,
    spectrum,
    to_csv,
    trained,
    untrained,
)

SIZE = Size(layers=2, width=64, heads=4, vocab=64)


def values(points: list[Point], picture: str, head: int, x: float | None = None) -> list[float]:
    return [p.y for p in points if (p.picture, p.head) == (picture, head) and x in (None, p.x)]


def model(name: str) -> LM:
    return LM(SIZE, resolve(name)[1], 32, 0).eval()


def text(length: int = 32) -> torch.Tensor:
    return torch.randint(64, (2, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", names())
def test_every_encoding_has_a_table(name: str) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(untrained(resolve(name)[1])))))
    assert {"logit"} <= {row["picture"] for row in rows} <= {"logit", "angle", "stretch"}
    assert all(math.isfinite(float(row[key])) for row in rows for key in "xy")


def test_alibi_falls_along_its_slopes() -> None:
    points = untrained(resolve("alibi")[1])
    for head, slope in enumerate(alibi_slopes(4).tolist()):
        assert values(points, "logit", head, 64) == pytest.approx([-64 * slope], abs=1e-3)
    assert values(points, "stretch", 0) == pytest.approx([1.0] * 16 * len(STEPS), abs=1e-4)


def test_the_angles_of_rope_are_its_frequencies_and_it_stretches_nothing() -> None:
    points = untrained(resolve("rope")[1])
    assert values(points, "angle", 2) == pytest.approx(rope_frequencies(16).tolist(), abs=1e-4)
    assert values(points, "stretch", 2) == pytest.approx([1.0] * 16 * len(STEPS), abs=1e-4)
    assert values(points, "logit", 0, 0) == [0.0]


def test_xpos_shrinks_its_planes_at_their_rates() -> None:
    points = untrained(resolve("xpos")[1])
    rates = ((torch.arange(0, 16, 2) / 16 + 0.4) / 1.4).repeat_interleave(2)
    shrunk = sorted((rates ** (64 / 512)).tolist(), reverse=True)
    assert values(points, "stretch", 0, 64) == pytest.approx(shrunk, abs=1e-4)


def test_reflections_shorten_and_never_lengthen() -> None:
    points = list(spectrum("start", resolve("path")[1](SMALL).eval()))
    assert max(values(points, "stretch", 0)) < 1 + 1e-4
    assert min(values(points, "stretch", 0, 64)) < 0.5


def test_what_is_not_bilinear_has_no_spectrum() -> None:
    for name in ("pope", "grape_a_q", "dape", "shaw"):
        assert {p.picture for p in untrained(resolve(name)[1])} == {"logit"}


def test_beyond_the_window_nothing_is_seen() -> None:
    finite = {p.x for p in logits("start", model("swan").encoding) if p.layer == 1 and math.isfinite(p.y)}
    assert max(finite) == 12  # the next distance on the list is 16, half the training length


@pytest.mark.parametrize("name", ["nope", "cope", "t5_bias", "rope+fox", "grape_ap"])
def test_attention_adds_up_and_the_model_stays_as_it_was(name: str) -> None:
    lm = model(name)
    encoding, before = lm.encoding, lm(text())
    points = list(masses(lm, text()))
    assert lm.encoding is encoding
    assert torch.equal(lm(text()), before)
    for layer in range(2):
        assert sum(p.y for p in points if p.layer == layer) == pytest.approx(1, abs=1e-5)


def test_an_untrained_model_without_positions_attends_evenly() -> None:
    lm = model("nope")
    torch.nn.init.zeros_(lm.blocks[0].attention.qkv.weight)
    (nearest, *_) = [p.y for p in masses(lm, text()) if p.layer == 0]
    assert nearest == pytest.approx(sum(1 / (i + 1) for i in range(16, 32)) / 16, abs=1e-5)


def test_what_training_changed_shows_beside_the_start() -> None:
    lm = model("grape_m_nonctx")
    with torch.no_grad():
        lm.encoding.get_parameter("slow_log_frequencies")[1] += 16 * math.log(2)
    points = [p for p in trained(lm, text()) if p.picture == "frequency" and p.layer == 1]
    start, end = ([p.y for p in points if p.state == state] for state in ("start", "trained"))
    assert end == pytest.approx([2 * f for f in start])


def test_figures_have_a_line_for_each_head_and_state(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text(to_csv(trained(model("grape_m_per_head"), text())))
    points = drawn.read(file)
    assert drawn.layers(points) == [0, 1]
    for figure in (drawn.logits, drawn.spectrum, drawn.stretch, drawn.frequencies):
        assert len(figure(points, 1).data) == 2 * SIZE.heads
    assert [line.name for line in drawn.masses(points).data] == ["layer 1", "layer 2"]
    assert list(drawn.masses(points).data[0].x) == ["0", "1", "2 to 3", "4 to 7", "8 to 15", "16 to 31"]


HEADER = "state,picture,layer,head,x,y\n"
HUGE = "9" * 400


@pytest.mark.parametrize(
    "content",
    [
        *("", "a,b\n1,2\n", "\0", f"{HEADER}start,logit,0,0,one,2\n", f"{HEADER}later,logit,0,0,1,2\n"),
        *(f"{HEADER}start,logit,{HUGE},0,1,2\n", f"{HEADER}start,logit,0,{HUGE},1,2\n"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(content)
    with pytest.raises(drawn.PictureError, match="is no table of pictures"):
        drawn.read(file)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_strange_file_is_no_table(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "table.csv")
    with pytest.raises(drawn.PictureError, match="is no table of pictures"):
        drawn.read(tmp_path / "table.csv")


def test_numbers_without_end_are_not_drawn(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    lines = ("logit,0,0,1,1e999", "logit,0,0,2,nan", "logit,0,0,inf,1", "logit,0,0,4,1", "mass,0,0,nan,1")
    file.write_text(HEADER + "".join(f"trained,{line}\n" for line in lines))
    points = drawn.read(file)
    assert points["x"].tolist() == [4]
    drawn.masses(points).to_json()


def test_the_newest_language_model_is_shown(tmp_path: Path) -> None:
    assert drawn.newest([tmp_path], "QUICK", "rope") is None
    for n, place in enumerate(
        ("language/rope/0-a", "language/rope/0-b", "copy/rope/0-c", "language/fox/0-d")
    ):
        file = tmp_path / "checkpoints" / "QUICK" / f"{place}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (n, n))
    newest = drawn.newest([tmp_path], "QUICK", "rope")
    assert newest is not None
    assert newest.name == "0-b.csv"


def test_the_command_writes_the_table(tmp_path: Path) -> None:
    from pebench.suite.commands.start import tabulate_pictures

    tabulate_pictures("rope", None, tmp_path / "rope.csv")
    assert (tmp_path / "rope.csv").read_text() == to_csv(untrained(resolve("rope")[1]))
