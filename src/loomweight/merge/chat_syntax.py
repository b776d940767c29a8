"""Whether a chat template is one: parsed as Transformers would, where Jinja is installed; never rendered."""

from typing import Any, ClassVar

from .marks import Place


def check_syntax(template: str, place: Place) -> None:
    """Raise `RecipeError` with the line inside the template where Jinja cannot parse it; without Jinja nothing is said.

    >>> check_syntax("{% for m in messages %}{{ m['content'] }}{% endfor %}", Place("", 1))
    """
    try:
        from jinja2 import Environment, TemplateSyntaxError
    except ImportError:  # the extra `report` is not installed
        return
    parser = Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _generation()])
    try:
        parser.parse(template)
    except TemplateSyntaxError as error:
        lines = template.count("\n") + 1
        where = f" in line {error.lineno} of the template" if lines > 1 else ""
        place.refuse(f"chat_template is no template that Jinja can read: {error.message}{where}.")


def _generation() -> Any:
    """The block that Transformers adds to Jinja: `{% generation %}` marks what the assistant says."""
    from jinja2.ext import Extension

    class Generation(Extension):
        """Reads the block and its end."""

        tags: ClassVar = {"generation"}

        def parse(self, parser: Any) -> Any:
            """The statements inside, as they are."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation
