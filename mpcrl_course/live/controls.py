"""The controls of live pictures, and how they are arranged."""

from __future__ import annotations

from typing import Any

import ipywidgets
import numpy as np

#: Controls that stand beside the buttons.
BESIDE = (ipywidgets.ToggleButton, ipywidgets.IntProgress)


def slider(text: str, value, low, high, step=1, form: str | None = None, log: bool = False) -> Any:
    """Return a slider: of whole numbers if `step` is one, of powers of ten if `log`.

    Parameters
    ----------
    text : str
        What it moves, with its unit.
    value, low, high, step : int or float
        Where it begins, its range and its step; with `log`, the last three are exponents of ten.
    form : str, optional
        How its number is written, such as '.2f'.
    """
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    given = {"value": value, "min": low, "max": high, "step": step, "description": text}
    if form is not None:
        given["readout_format"] = form
    return (ipywidgets.FloatLogSlider if log else kind)(**given)


def toggle(text: str, icon: str) -> ipywidgets.ToggleButton:
    """Return a button that stays pressed, off at first; its text, and an icon by its name in Font Awesome."""
    return ipywidgets.ToggleButton(value=False, description=text, icon=icon, layout={"width": "auto"})


def choice(text: str, options: dict[str, str], value: str) -> ipywidgets.ToggleButtons:
    """Return buttons behind a `text`, of which one is pressed, `value`; `options` are their texts and tooltips.

    By keyboard as by mouse: in a list to choose from, arrow keys would move JupyterLab's cursor from cell to cell.
    """
    buttons = ipywidgets.ToggleButtons(options=list(options), value=value, description=text)
    buttons.tooltips, buttons.style.button_width = list(options.values()), "auto"
    return buttons


#: What an element does with an arrow key that goes down or up, and (blur) when it is left: the names of the keys that
#: are down become the text of the hidden field beside it. JupyterLab, which moves from cell to cell by arrow keys, does
#: not listen where shortcuts are suppressed.
_ON_KEY = (
    "const key = {ArrowLeft: 'left', ArrowRight: 'right', ArrowUp: 'up', ArrowDown: 'down'}[event.key]; "
    "if (!key && event.type !== 'blur') return; event.preventDefault(); event.stopPropagation(); "
    "const held = new Set(event.type === 'blur' ? [] : (this.dataset.held || '').split(' ').filter(Boolean)); "
    "if (key) event.type === 'keydown' ? held.add(key) : held.delete(key); "
    "const now = [...held].sort().join(' '); if (now === (this.dataset.held || '')) return; this.dataset.held = now; "
    "const field = this.closest('.widget-vbox').querySelector('.mpcrl-held input'); field.value = now; "
    "field.dispatchEvent(new Event('input', {bubbles: true}))"
)


def arrow_keys(text: str) -> tuple[ipywidgets.HTML, ipywidgets.Text]:
    """Return a strip with a `text` that listens to the arrow keys while it has the focus, and a hidden field.

    The field's value are the keys that are held: of left, right, up and down, with spaces between them. Both must stand
    in one VBox, such as that of a `Player`.
    """
    handlers = " ".join(f'on{event}="{_ON_KEY}"' for event in ("keydown", "keyup", "blur"))
    strip = ipywidgets.HTML(
        f'<div class="mpcrl-keys" tabindex="0" role="application" aria-label="{text}" {handlers} '
        f'data-lm-suppress-shortcuts="true" style="border:2px solid #0072B2; padding:2px 10px; cursor:pointer">'
        f"{text}</div>"
    )
    field = ipywidgets.Text(layout={"display": "none"})
    field.add_class("mpcrl-held")
    return strip, field


def row(controls: list, label: int, width: int) -> ipywidgets.HBox:
    """Return controls side by side, two in the `width` of the picture, each with `label` pixels for its text."""
    for control in controls:
        wide = isinstance(control, ipywidgets.ToggleButtons)  # these have the whole of it
        control.style.description_width = f"{label}px"
        control.layout.width = f"{width if wide else min(width // 2 - 10, 390)}px"
    return ipywidgets.HBox(controls, layout={"flex_flow": "row wrap", "width": f"{width}px", "max_width": "100%"})


def checked_kick(amount, *units: str) -> np.ndarray:
    """Return the amount of a kick as finite numbers, one for each of `units`; ValueError says what else was given."""
    amount = np.atleast_1d(np.asarray(amount, dtype=float))
    if amount.shape != (len(units),) or not np.isfinite(amount).all():
        number = {1: "one finite number", 2: "two finite numbers"}[len(units)]
        raise ValueError(f"a kick is {number} ({', '.join(units)}), not {amount}")
    return amount
