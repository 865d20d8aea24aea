"""The key of an arm on the page: a piece of its line, with colour, dash and marker, as SVG."""

from __future__ import annotations

from swarmproof.report.palette import Style

_MARKS = {
    "o": '<circle cx="14" cy="6" r="3.6"/>',
    "s": '<path d="M10.8 2.8h6.4v6.4h-6.4z"/>',
    "^": '<path d="M14 1.6l4 7.4h-8z"/>',
    "D": '<path d="M14 1.4l4.4 4.6-4.4 4.6-4.4-4.6z"/>',
    "v": '<path d="M14 10.4l4-7.4h-8z"/>',
    "P": '<path d="M12.5 2h3v2.5H18v3h-2.5V10h-3V7.5H10v-3h2.5z"/>',
}


def variable(colour: str) -> str:
    """The page's CSS variable for a colour of a light page, which a dark page sets to another."""
    return f"var(--arm-{colour[1:]})"


def svg(style: Style) -> str:
    """The key of a style; it follows light and dark."""
    colour = variable(style.colour)
    dash = " ".join(f"{2 * length:g}" for length in style.dash)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<svg class="key" viewBox="0 0 28 12" aria-hidden="true" style="color: {colour}">'
        f'<path d="M0 6h28" stroke="currentColor" stroke-width="2"{dashes}/>'
        f'<g fill="currentColor">{_MARKS[style.marker]}</g></svg>'
    )
