"""report.html: one self-contained page that is read in a minute and prints on one sheet of A4.

In: types.Report and its pictures. Out: the text of the page; pictures and style are inside it, so it opens anywhere,
offline, without scripts. Every string that came from outside is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from healthivert.report.figures import Picture
from healthivert.report.wording import all_warnings, format_mm, format_percent, grade_range_words, headline
from healthivert.types import HEIGHT_KEYS, THIRDS, Heights, Report

NO_BREAK = "\N{NO-BREAK SPACE}"
PAIRS = ("sagittal", "coronal")  # the pictures that carry the finding: they are shown first and largest


def page_html(report: Report, pictures: Sequence[Picture]) -> str:
    """The whole page as text."""
    data = resources.files("healthivert").joinpath("data")
    template = Template(data.joinpath("report_page.html").read_text(encoding="utf-8"))
    return template.substitute(
        style=data.joinpath("report_page.css").read_text(encoding="utf-8"),
        title=_text(f"{report.vertebra} height loss, {report.case}"),
        case=_text(report.case),
        vertebra=_text(report.vertebra),
        headline=_headline(report),
        summary=_text(_summary(report)),
        warnings=_warnings(all_warnings(report)),
        rows="\n".join(_row(report, key) for key in HEIGHT_KEYS),
        certainty=_text(_certainty(report)),
        samples=_text(_samples(report.samples)),
        pairs="\n".join(_figure(picture) for picture in pictures if picture.name in PAIRS),
        charts="\n".join(_figure(picture) for picture in pictures if picture.name not in PAIRS),
        provenance=_provenance(report),
    )


def _headline(report: Report) -> str:
    """The headline, with no third parted from its finding at the end of a line."""
    words = headline(report)
    for third in THIRDS:
        words = words.replace(f"{third} ", third + NO_BREAK)
    for direction in ("lost", "taller"):
        words = words.replace(f"% {direction}", f"%{NO_BREAK}{direction}")
    return _text(words)


def _summary(report: Report) -> str:
    """Heights behind the headline, and what the neighbours alone would have said."""
    loss = report.loss
    original, healthy = format_mm(loss.original.mean), format_mm(loss.pseudo_healthy.mean)
    words = f"Mean body height {original} mm; predicted healthy {healthy} mm"
    if loss.neighbour_reference is None:
        return words + ". No neighbour is sound enough for a reference of its own."
    reference = format_mm(loss.neighbour_reference.mean)
    if reference == healthy:  # most models leave the mean to the neighbours: no second opinion
        return words + ", which is what the other levels predict."
    return words + f". The other levels alone predict {reference} mm."


def _certainty(report: Report) -> str:
    return f"Within the intervals of the thirds: {grade_range_words(report.loss)}."


def _samples(samples: int) -> str:
    if samples == 1:
        return "One sample was drawn, so no spread is known."
    others = "the other sample lies" if samples == 2 else f"the {samples - 1} other samples lie"
    return f"± is how far {others} from this one (root mean square), in points of percent."


def _row(report: Report, key: str) -> str:
    loss = report.loss
    lost = getattr(loss.rhlv, key)
    spread = "" if loss.rhlv_sd is None else f" ± {format_percent(getattr(loss.rhlv_sd, key), 1).removesuffix(' %')}"
    cells = (
        format_mm(getattr(loss.original, key)),
        format_mm(getattr(loss.pseudo_healthy, key)),
        format_mm(_height(loss.neighbour_reference, key)),
        format_percent(lost, 1).removesuffix(" %") + spread,
        format_percent(loss.rhlv_reference.get(key), 1).removesuffix(" %"),
    )
    names = ("before", "after", "neighbours", "loss", "muted")
    columns = "".join(
        f'<td class="{name}">{_text(cell)}{_interval(report, key) if name == "loss" else ""}</td>'
        for name, cell in zip(names, cells, strict=True)
    )
    return f'<tr class="{key}"><th scope="row">{key}</th>{columns}</tr>'


def _interval(report: Report, key: str) -> str:
    """HTML: the range that holds the true loss in nine of ten cases, in percent."""
    low, high = (format_percent(end).removesuffix(" %") for end in report.loss.rhlv_interval[key])
    return f" <small>{low}{NO_BREAK}to{NO_BREAK}{high}</small>"


def _height(heights: Heights | None, key: str) -> float | None:
    return None if heights is None else float(getattr(heights, key))


def _warnings(warnings: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(warning)}</li>" for warning in warnings)
    if not items:
        return ""
    return f'<section class="warnings" aria-label="Warnings"><h2>Check before use</h2><ul>{items}</ul></section>'


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f'<figure class="{picture.name}"><img src="data:image/png;base64,{data}" alt="{_text(picture.alt)}">'
        f"<figcaption>{_text(picture.caption)}</figcaption></figure>"
    )


def _provenance(report: Report) -> str:
    genant = report.loss.genant
    facts: dict[str, Any] = {
        "Grade": f"by {genant.by}",
        "Model": report.model.get("name", "unknown"),
        "Weights, SHA-256": report.model.get("sha256", "unknown"),
        "Seed": report.seed,
        "Samples": report.samples,
        "Versions": _pairs(report.versions, "{} {}"),
        "Time": _pairs({name: f"{seconds:.1f}" for name, seconds in report.timing_s.items()}, "{} {} s"),
    }
    return "".join(
        f"<div><dt>{_text(name)}</dt> <dd>{_text(str(value))}</dd></div>"
        for name, value in facts.items()
        if value != ""
    )


def _pairs(items: Mapping[str, str], form: str) -> str:
    return ", ".join(form.format(name, value) for name, value in items.items())


def _text(words: str) -> str:
    """Escaped for HTML, with a number never parted from its unit at the end of a line."""
    for unit in ("%", "mm"):
        words = words.replace(f" {unit}", NO_BREAK + unit)
    return escape(words, quote=True)
