"""The two tables of levels in the panel: which vertebra a segment is, and how high every vertebra is.

Both are plain views: they are given what to show, and tell what the user chose through a function given to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import qt
from slicer.i18n import tr as _

SUSPICIOUS = (213, 94, 0)  # vermillion of Okabe and Ito: told from the background by colour-blind eyes, too
DARKEST = 190  # of 255, where suspicion is 1: the text on it stays readable
THIRDS = ("anterior", "middle", "posterior")


class SpineView:
    """One row per level, cranial to caudal: height, what the neighbours let expect, loss, suspicion.

    on_chosen(level) is called when the user comes to another row, on_clicked(level) on every click on a row.
    """

    def __init__(self, table, on_chosen: Callable[[str], None], on_clicked: Callable[[str], None]) -> None:
        self._table, self._on_chosen, self._on_clicked = table, on_chosen, on_clicked
        self._shown: tuple = ()
        _prepare(table, [_("Level"), _("Height\n(mm)"), _("Expected\n(mm)"), _("Loss\n(%)"), _("Suspicion")])
        table.connect("itemSelectionChanged()", self._selection_changed)
        table.connect("cellClicked(int,int)", self._cell_clicked)

    def show(self, levels: Sequence[str], rows: Sequence[Mapping]) -> None:
        """levels: the rows of the table. rows: as of `healthivert inspect --json`; a level without one shows dashes."""
        content = (tuple(levels), repr(rows))
        if content == self._shown:
            return  # building it again would take the row from under the click that is being handled
        self._shown = content
        row_of = {row["level"]: row for row in rows}
        blocked = self._table.blockSignals(True)
        self._table.setRowCount(len(levels))
        for index, level in enumerate(levels):
            self._fill(index, level, row_of.get(level))
        self._table.blockSignals(blocked)

    def choose(self, level: str | None) -> None:
        """Marks the row of level, without telling anybody."""
        levels = self._shown[0] if self._shown else ()
        if self._level() == level:
            return
        blocked = self._table.blockSignals(True)
        self._table.clearSelection()
        if level in levels:
            self._table.setCurrentCell(levels.index(level), 0)
        self._table.blockSignals(blocked)

    def _fill(self, index: int, level: str, row: Mapping | None) -> None:
        tip = _row_tip(row) if row else _("Not measured yet.")
        for column, text in enumerate(_row_texts(level, row)):
            item = _item(text, numeric=0 < column < 4)
            item.setToolTip(tip)
            self._table.setItem(index, column, item)
        suspicion = self._table.item(index, 4)
        suspicion.setFlags(suspicion.flags() ^ qt.Qt.ItemIsSelectable)  # it keeps its colour when its row is chosen
        if row:
            shade = round(DARKEST * float(row["suspicion"]))
            suspicion.setBackground(qt.QBrush(qt.QColor(*SUSPICIOUS, shade)))

    def _level(self) -> str | None:
        items = self._table.selectedItems()
        return items[0].text() if items else None

    def _selection_changed(self) -> None:
        level = self._level()
        if level is not None:
            self._on_chosen(level)

    def _cell_clicked(self, row: int, column: int) -> None:
        self._on_clicked(self._shown[0][row])


def _row_texts(level: str, row: Mapping | None) -> list[str]:
    if row is None:
        return [level, "–", "–", "–", ""]
    own, expected = row["heights_mm"], row["neighbour_reference"]
    comparable = expected is not None and row["complete"]
    return [
        level,
        f"{own['mean']:.1f}",
        f"{expected['mean']:.1f}" if expected else "–",
        f"{100 * (1 - own['mean'] / expected['mean']):+.1f}" if comparable else "–",
        _suspicion_text(row),
    ]


def _suspicion_text(row: Mapping) -> str:
    percent = f"{100 * row['suspicion']:.0f} %"
    if not row["grade"]:
        return percent
    return _("{percent}, {shape} grade {grade}").format(percent=percent, shape=row["shape"], grade=row["grade"])


def _row_tip(row: Mapping) -> str:
    heights = ", ".join(f"{key} {row['heights_mm'][key]:.1f} mm" for key in THIRDS)
    lines = [_("{level}: {heights}").format(level=row["level"], heights=heights)]
    if not row["complete"]:
        lines.append(_("The scan's border cuts this vertebra: its height is not its whole height."))
    return "\n".join([*lines, *row["warnings"]])


class LevelsView:
    """Which vertebra each segment is; the user may correct it for the chosen row.

    on_corrected(segment_id, level) is called with the level that the user says, or "" for what was recognised.
    """

    def __init__(self, table, selector, on_corrected: Callable[[str, str], None]) -> None:
        self._table, self._selector, self._on_corrected = table, selector, on_corrected
        self._shown: tuple = ()
        self._ids: list[str] = []
        self._overrides: dict[str, str] = {}
        _prepare(table, [_("Segment"), _("Vertebra")])
        table.connect("itemSelectionChanged()", self._selection_changed)
        selector.connect("currentIndexChanged(int)", self._corrected)

    def offer(self, levels: Sequence[str], no_vertebra: str) -> None:
        """What a segment can be corrected to. levels: all level names; no_vertebra: what stands for none of them."""
        blocked = self._selector.blockSignals(True)
        self._selector.clear()
        self._selector.addItem(_("as recognised"), "")
        self._selector.addItem(_("no vertebra"), no_vertebra)
        for level in levels:
            self._selector.addItem(level, level)
        self._selector.blockSignals(blocked)

    def show(
        self, segments: Sequence[tuple[str, str]], levels: Mapping[str, str], overrides: Mapping[str, str]
    ) -> None:
        """segments: (ID, name) of all segments; levels: segment ID -> level; overrides: those the user corrected."""
        content = (tuple(segments), tuple(levels.items()), tuple(overrides.items()))
        if content == self._shown:
            return
        self._shown, self._overrides = content, dict(overrides)
        chosen = self._segment_id()
        self._ids = [segment_id for segment_id, _name in segments]
        blocked = self._table.blockSignals(True)
        self._table.setRowCount(len(segments))
        for index, (segment_id, name) in enumerate(segments):
            level = levels.get(segment_id, "–")
            self._table.setItem(index, 0, _item(name))
            corrected = _("{level} (corrected)").format(level=level)
            self._table.setItem(index, 1, _item(corrected if segment_id in overrides else level))
        self._table.blockSignals(blocked)
        if chosen not in self._ids:
            self._table.clearSelection()
        self._selection_changed()

    def _segment_id(self) -> str | None:
        items = self._table.selectedItems()
        row = items[0].row() if items else -1
        return self._ids[row] if 0 <= row < len(self._ids) else None

    def _selection_changed(self) -> None:
        segment_id = self._segment_id()
        blocked = self._selector.blockSignals(True)
        self._selector.enabled = segment_id is not None
        corrected = self._overrides.get(segment_id, "") if segment_id else ""
        self._selector.setCurrentIndex(max(0, self._selector.findData(corrected)))
        self._selector.blockSignals(blocked)

    def _corrected(self, index: int) -> None:
        segment_id = self._segment_id()
        if segment_id is not None:
            self._on_corrected(segment_id, self._selector.itemData(index))


def _prepare(table, titles: Sequence[str]) -> None:
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(titles)
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(len(titles) - 1, qt.QHeaderView.Stretch)


def _item(text: str, numeric: bool = False):
    item = qt.QTableWidgetItem(text)
    if numeric:
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    return item
