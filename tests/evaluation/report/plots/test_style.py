"""Colours and markers of embeddings in matplotlib's plots and in the report's style sheet."""

import re
from importlib.resources import files

from musicrec.evaluation.report.looks import COLORS, MARKERS, Look
from musicrec.evaluation.report.plots import style


def test_plots_and_pages_have_the_same_looks() -> None:
    templates = files("musicrec.evaluation.report") / "templates"
    css, symbols = (templates / "style.css").read_text(), (templates / "symbols.html.j2").read_text()
    light = dict(re.findall(r"--c(\d): (#[0-9a-f]{6})", css[: css.index("@media")]))
    assert tuple(light[str(number)] for number in range(COLORS)) == style.PALETTE and len(light) == COLORS
    assert re.findall(r'id="m(\d)"', symbols) == [str(number) for number in range(MARKERS)]
    assert len(style.MARKERS) == MARKERS and len(re.findall(r"\.c\d \{ --c:", css)) == COLORS


def test_colours_stand_out_from_the_paper() -> None:
    def luminance(color: str) -> float:
        parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    css = (files("musicrec.evaluation.report") / "templates" / "style.css").read_text()
    light, dark = css[: css.index("@media")], css[css.index("@media") :]
    for scheme in (light, dark):
        paper = luminance(re.findall(r"--paper: (#[0-9a-f]{3,6})", scheme)[0].replace("#fff;", "#ffffff").ljust(7, "f"))
        for color in re.findall(r"--c\d: (#[0-9a-f]{6})", scheme):
            brighter, darker = sorted((paper, luminance(color)), reverse=True)
            assert (brighter + 0.05) / (darker + 0.05) >= 3, color  # WCAG 2.2, 1.4.11


def test_controls_are_paler_and_what_reads_no_audio_is_grey() -> None:
    assert style.shade(Look(1, 0)) == "#db6b25" and style.shade(Look(1, 0, hollow=True)) == "#efbc9d"
    assert style.shade(None) == style.MUTED and style.mark(None) == "o" and style.mark(Look(0, 2)) == "D"
