"""The work itself: files and workflows. Raises WorkFailed for what cannot be worked on."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from typing import Any

FILE_KINDS = ("csv", "json", "text", "other")
_SENTENCE = re.compile(r"[^.!?]+[.!?]?")
_HEADING = re.compile(r"<h1>(.*?)</h1>", re.IGNORECASE | re.DOTALL)


class WorkFailed(Exception):
    """The input cannot be worked on; the message says why, and ``details`` go into the result of the job."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.details = details


class WorkBroke(Exception):
    """Something broke on this very input; another try may go well."""


def file_kind(name: str) -> str:
    """Kind of a file by its name: csv, json, text or other."""
    return {"csv": "csv", "json": "json", "txt": "text", "md": "text"}.get(name.rpartition(".")[2].lower(), "other")


def process_file(name: str, content: str) -> dict[str, Any]:
    """Size in bytes, checksum, and the number of records."""
    data = content.encode()
    return {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "records": _records(file_kind(name), content),
    }


def _records(kind: str, content: str) -> int:
    if kind == "json":
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise WorkFailed(f"not JSON: {error}") from None
        return len(found) if isinstance(found, list) else 1
    if kind == "csv":
        rows = [row for row in csv.reader(io.StringIO(content)) if row]
        if len({len(row) for row in rows}) > 1:
            raise WorkFailed("rows of different length")
        return max(len(rows) - 1, 0)
    return len(content.splitlines())


def summary(content: str) -> dict[str, Any]:
    """The two longest sentences, in their order."""
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(content) if sentence.strip()]
    if not sentences:
        raise WorkFailed("no sentence to summarize")
    longest = sorted(sentences, key=len, reverse=True)[:2]
    return {"summary": " ".join(sentence for sentence in sentences if sentence in longest)}


def post_fetch(content: str) -> dict[str, Any]:
    """Headings of the posts in a page that was fetched."""
    titles = [title.strip() for title in _HEADING.findall(content)]
    if not titles:
        raise WorkFailed("no post in the page")
    return {"posts": titles[:20]}


def pdf_generation(content: str) -> dict[str, Any]:
    """A one-page PDF with the text's first line; its size in bytes and its checksum."""
    line = content.splitlines()[0] if content.strip() else ""
    if not line:
        raise WorkFailed("no text for the page")
    text = line.encode("ascii", "replace").decode().translate({ord(c): "\\" + c for c in "\\()"})[:90]
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    pdf, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(pdf))
        pdf += f"{number} 0 obj{body}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    pdf += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    pdf += f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{pdf.index('xref')}\n%%EOF"
    return {"bytes": len(pdf), "sha256": hashlib.sha256(pdf.encode()).hexdigest()}


def fulfilment(content: str) -> dict[str, Any]:
    """A parcel label for an item. "unshippable" is refused."""
    if content == "unshippable":
        raise WorkFailed("the item cannot be shipped")
    return {"label": hashlib.sha256(content.encode()).hexdigest()[:12]}


WORKFLOWS: dict[str, Callable[[str], dict[str, Any]]] = {
    "summary": summary,
    "post_fetch": post_fetch,
    "pdf_generation": pdf_generation,
    "fulfilment": fulfilment,
}
