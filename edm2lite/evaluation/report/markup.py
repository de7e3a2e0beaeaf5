"""Pieces of HTML: escaped text, elements, figures, links that carry their file with them."""

import base64
import html
import io
import re

import numpy as np
from PIL import Image

from edm2lite.data.sheets import to_picture

INK = "#010203"  # what drawings use for black: on the page it is the colour of the text around, dark or light
_PNG_BYTES = 150_000  # a larger colour picture is stored as JPEG


def text(value: object) -> str:
    """Text as it may stand between tags and in attributes."""
    return html.escape(str(value))


def element(name: str, content: str = "", **attributes: object) -> str:
    """An element of ready content; attributes are escaped, None and False leave one out, `class_` is class, `_` a hyphen."""
    given = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items() if v is not None and v is not False}
    written = "".join(f" {k}" if v is True else f' {k}="{text(v)}"' for k, v in given.items())
    return f"<{name}{written}>{content}</{name}>"


def scrolling(content: str, label: str, short: bool = False) -> str:
    """A box that scrolls sideways by itself, so that the page need not, by keyboard too; `short`: never cut in print."""
    return element(
        "div", content, class_="wide short" if short else "wide", tabindex=0, role="region", aria_label=label
    )


def figure(content: str, caption: str, class_: str | None = None) -> str:
    """A figure with its caption, which is text."""
    return element("figure", content + element("figcaption", text(caption)), class_=class_)


def definitions(facts: dict[str, object]) -> str:
    """A list of names and what they are; a value with braces of its own is plain data and shown as code."""
    return element("dl", "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts.items()))


def download(label: str, content: str, name: str, kind: str) -> str:
    """A link whose address holds the file itself."""
    uri = f"data:{kind};base64,{base64.b64encode(content.encode()).decode()}"
    return element("a", text(label), href=uri, download=name)


def picture(pixels: np.ndarray, alt: str, pixelated: bool = False) -> str:
    """An image of uint8 [C, H, W] with its size, so that nothing moves when it is shown."""
    drawn = to_picture(pixels)
    return image(*_encoded(drawn), alt, drawn.width, drawn.height, "pixels" if pixelated else None)


def image(data: bytes, kind: str, alt: str, width: int, height: int, class_: str | None = None) -> str:
    """An image that carries its file with it; `kind` is png, jpeg or svg+xml."""
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    whole = element("img", src=uri, alt=alt, width=width, height=height, class_=class_)
    return whole.removesuffix("</img>")  # it has no end tag


def _encoded(drawn: Image.Image) -> tuple[bytes, str]:
    """A PNG; of a large colour picture a JPEG, without loss of colour resolution."""
    data = io.BytesIO()
    drawn.save(data, format="PNG", optimize=True)
    if data.tell() <= _PNG_BYTES or drawn.mode == "L":
        return data.getvalue(), "png"
    data = io.BytesIO()
    drawn.save(data, format="JPEG", quality=90, subsampling=0)
    return data.getvalue(), "jpeg"


def inline_svg(svg: str, label: str) -> str:
    """A drawing of matplotlib as part of the page: its `INK` becomes the colour of the text, its label is read aloud."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL).replace(
        INK, "currentColor"
    )
    used = set(re.findall(r"#([\w-]+)", body))
    body = re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in used else "", body)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)
    assert size is not None
    width, height = (round(float(side) * 4 / 3) for side in size.groups())  # points to pixels
    opening = f'<svg class="plot" role="img" aria-label="{text(label)}" width="{width}" height="{height}" {size[0]}>'
    return opening + body[body.index(">") + 1 :].strip()
