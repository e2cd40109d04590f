"""Widgets as they stood when the notebook had run: their pictures and words, for where no kernel is."""

from __future__ import annotations

import re
from html import escape
from typing import Any

VIEW, STATES = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
#: Of these nothing is left that says something: what is pressed, drawn or filled only while the kernel runs.
MUTE = {"ButtonModel", "PlayModel", "ProgressModel", "FloatProgressModel", "IntProgressModel", "ToggleButtonModel"}
BARS = {"FloatProgressModel", "IntProgressModel"}


def states_of(notebook) -> dict[str, Any]:
    """Return the states of all widgets of a `notebook` that has run, by their number."""
    return notebook.metadata.get("widgets", {}).get(STATES, {}).get("state", {})


def shown(number: str, states: dict[str, Any]) -> str:
    """Return the widget `number` of `states` as HTML: pictures, words, choices as a list; '' for a progress bar."""
    if any(one in BARS for one in _kinds(number, states)):
        return ""
    inside = _inside(number, states)
    handed = re.search(r'<style onload=[^>]*data-alt="([^"]*)"', inside)  # how the live widgets carry the alt text
    inside = re.sub(r"<style onload=.*?</style>", "", inside, flags=re.S)
    inside = inside.replace('alt=""', f'alt="{handed[1]}"') if handed else inside
    return f'<div class="static-widget">{inside}</div>' if inside.strip() else ""


def _kinds(number: str, states) -> list[str]:
    widget = states.get(number, {})
    below = [_number(child) for child in widget.get("state", {}).get("children", [])]
    return [widget.get("model_name", ""), *(kind for child in below for kind in _kinds(child, states))]


def _number(reference: str) -> str:
    return reference.removeprefix("IPY_MODEL_")


def _inside(number: str, states) -> str:
    widget = states.get(number, {})
    kind, state = widget.get("model_name", ""), widget.get("state", {})
    if kind in MUTE:
        return ""
    if kind == "ImageModel":
        data = next((part["data"] for part in widget.get("buffers", []) if part.get("path") == ["value"]), "")
        return f'<img src="data:image/{state.get("format", "png")};base64,{data}" alt="">' if data else ""
    label = escape(str(state.get("description") or ""))
    if kind in ("HTMLModel", "HTMLMathModel"):
        return f"<div>{state.get('value', '')}</div>"
    if kind == "LabelModel":
        return f"<div>{escape(str(state.get('value', '')))}</div>"
    if kind == "RadioButtonsModel":
        return f"<p>{label}</p><ul>" + "".join(f"<li>{escape(str(o))}</li>" for o in state["_options_labels"]) + "</ul>"
    return "".join(_inside(_number(child), states) for child in state.get("children", []))
