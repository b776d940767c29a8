"""Watch modules while the model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

#: (name, module's first input, its output) is seen at every call
Watch = Callable[[str, Any, Any], None]


@contextmanager
def watched(modules: Mapping[str, nn.Module], watch: Watch) -> Iterator[None]:
    """Call `watch` whenever one of the modules has run; afterwards its hooks are gone."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
        def run(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            watch(name, inputs[0] if inputs else next(iter(named.values()), None), output)

        return run

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(hook(name), with_kwargs=True).remove)
        yield
