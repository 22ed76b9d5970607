"""slicer.i18n without translations. Stands in for Base/Python/slicer/i18n.py.

Differs: it does not look for the caller's file to name the context of a text, since nothing is translated.
"""

from __future__ import annotations

import slicer


def translate(context: str, text: str) -> str:
    return slicer.app.translate(context, text)


def tr(text: str) -> str:
    return translate("", text)
