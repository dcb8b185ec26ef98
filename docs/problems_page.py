"""docs/problems.md as the page that the ``type`` of a problem leads to."""

from __future__ import annotations

import re
from html import escape

PAGE = """<!doctype html>
<html lang="en">
<!-- Made from docs/problems.md by make docs. -->
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Problems</title>
<link rel="icon" href="../page/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="../page/document.css">
</head>
<body>
<main>
{body}
<p><a href="../docs">API documentation</a></p>
</main>
</body>
</html>
"""


def render_problems_page(markdown: str) -> str:
    """Give the page for what that document uses: headings, paragraphs, code, bold and links."""
    # Fenced code is split off first: every second piece is one.
    pieces = re.split(r"^```\w*\n(.*?)^```\n", markdown, flags=re.DOTALL | re.MULTILINE)
    blocks: list[str] = []
    for i, piece in enumerate(pieces):
        if i % 2:
            blocks.append(f'<pre tabindex="0">{escape(piece)}</pre>')
        else:
            blocks += [_block(text) for text in piece.strip().split("\n\n") if text]
    return PAGE.format(body="\n".join(blocks))


def _block(text: str) -> str:
    if text.startswith("## "):
        return f'<h2 id="{escape(text[3:])}">{_inline(text[3:])}</h2>'
    if text.startswith("# "):
        return f"<h1>{_inline(text[2:])}</h1>"
    return f"<p>{_inline(text)}</p>"


def _inline(text: str) -> str:
    text = escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"\[([^]]+)\]\((https://[^)\s\"]+)\)", r'<a href="\2">\1</a>', text)
