"""Small things that the parts of the panel do with plain widgets."""

from __future__ import annotations

from collections.abc import Mapping


def say(label, text: str) -> None:
    """Shows a sentence in a label that takes no room while there is none."""
    label.text = text
    label.setVisible(bool(text))


def fill(combo, texts: Mapping[str, str]) -> None:
    """Offers texts (data -> what is read); the choice is left to choose."""
    if [(combo.itemData(index), combo.itemText(index)) for index in range(combo.count)] == list(texts.items()):
        return
    blocked = combo.blockSignals(True)
    combo.clear()
    for data, text in texts.items():
        combo.addItem(text, data)
    combo.blockSignals(blocked)


def choose(combo, data: str) -> None:
    """Shows the choice without telling that there was one. Nothing is shown for data that is not offered."""
    blocked = combo.blockSignals(True)
    combo.setCurrentIndex(combo.findData(data))
    combo.blockSignals(blocked)
