"""How docstrings come onto the site: examples as code, and the papers that a file opens with beside what the file holds."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^>>> .*\n?)(?:^\S.*\n?|^ +\S.*\n?)*", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites docstrings as they are collected; the source is left alone."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """One class, function or module, with its members already there."""
        if obj.docstring is None:
            return
        obj.docstring.value = fenced(obj.docstring.value)
        if (obj.is_class or obj.is_function) and obj.parent is not None and obj.parent.is_module and obj.parent.docstring is not None:
            obj.docstring.value += papers(obj.parent.docstring.value)


def fenced(text: str) -> str:
    """Runs of `>>>` lines, with what they print, as blocks of code."""
    return _EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)


def papers(words: str) -> str:
    """Those paragraphs of a file's docstring that name a paper, as quotations."""
    named = [paragraph.strip() for paragraph in words.split("\n\n") if paragraph.lstrip().startswith("Paper")]
    return "".join("\n\n> " + paragraph.replace("\n", "\n> ") for paragraph in named)
