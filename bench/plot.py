"""plot.py - the plots of docs/benchmarks.md: bars and lines as small SVG files, the same bytes for the same figures."""
import html
import math

FONT = 'font-family="sans-serif" font-size="12"'
INK, GRID, BACK = "#222222", "#dddddd", "#ffffff"
COLOURS = ("#c0392b", "#2c6fad", "#3a8f4d", "#b07d1a", "#7a5195", "#666666")


def text(x, y, words, anchor="start", colour=INK, weight="normal"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{html.escape(words)}</text>'


def line(x1, y1, x2, y2, colour=GRID):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def document(width, height, title, parts):
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" {FONT}>',
                      f"<title>{html.escape(title)}</title>", f'<rect width="{width}" height="{height}" fill="{BACK}"/>', *parts,
                      "</svg>", ""])


def bars(title, groups):
    """groups: [(words, [(name, value or None, words for it)])], each with a scale of its own from 0: who is compared stands together."""
    width, left, right, bar, gap = 760, 110, 130, 20, 34
    names = list(dict.fromkeys(name for _, rows in groups for name, _, _ in rows))
    parts, y = [text(10, 22, title, weight="bold")], 40
    for words, rows in groups:
        parts.append(text(10, y + 14, words, weight="bold"))
        y += 22
        most = max((value for _, value, _ in rows if value), default=1)
        for name, value, label in rows:
            length = (value or 0) / most * (width - left - right)
            parts += [text(left - 8, y + 14, name, "end"),
                      f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{bar - 4}" fill="{COLOURS[names.index(name) % len(COLOURS)]}"/>',
                      text(left + length + 6, y + 14, label)]
            y += bar
        y += gap - bar
    return document(width, y, title, parts)


def ceiling(value):
    """The least of these times a power of ten that is not below it: quarters of it are easy to read."""
    step = 10 ** math.floor(math.log10(value))
    return next(n * step for n in (1, 1.2, 1.6, 2, 3, 4, 6, 8, 10) if n * step >= value * 0.999999)


def short(value):
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def panel(x, y, width, height, words, points):
    """One line chart: the axis across is logarithmic, the one up begins at 0."""
    left, bottom, top = 46, 24, 24
    inner_w, inner_h = width - left - 16, height - bottom - top
    first, last = math.log10(points[0][0]), math.log10(points[-1][0])
    most = ceiling(max(value for _, value in points) * 1.05)

    def at(point):
        across = (math.log10(point[0]) - first) / (last - first) if last > first else 0.5
        return x + left + across * inner_w, y + top + inner_h - point[1] / most * inner_h
    parts = [text(x + left, y + 14, words, weight="bold")]
    for part in range(5):
        height_at = y + top + inner_h * (1 - part / 4)
        parts += [line(x + left, height_at, x + left + inner_w, height_at), text(x + left - 6, height_at + 4, short(most * part / 4), "end")]
    places = [at(p) for p in points]
    parts.append(f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>')
    for (value, _), (a, b) in zip(points, places):
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{COLOURS[0]}"/>', text(a, y + height - 6, short(value), "middle")]
    return parts


def panels(title, charts):
    """charts: [(words, [(across, up)])], two in a row."""
    width, height, parts = 380, 210, []
    for number, (words, points) in enumerate(charts):
        parts += panel(number % 2 * width, 34 + number // 2 * height, width, height - 10, words, points)
    return document(2 * width, 34 + (len(charts) + 1) // 2 * height, title, [text(10, 22, title, weight="bold"), *parts])
