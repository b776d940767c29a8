"""How every command names a model, its example inputs and its data: the options, and what they mean."""

from typing import Annotated

import typer

from ..merge.named import called as called
from ..merge.named import named as named
from ..merge.network import Network as Network
from ..merge.network import network as network

_MODEL = "module:factory, a function that gives the torch module; or a Transformers config: its folder, or the file."
ModelArgument = Annotated[str | None, typer.Argument(help=_MODEL, metavar="MODEL")]
ModelOption = Annotated[str | None, typer.Option("--model", help=_MODEL, metavar="MODEL")]
ExampleOption = Annotated[str | None, typer.Option("--example", help="module:function that gives inputs of the model; a Transformers config needs none.")]
DataOption = Annotated[str | None, typer.Option("--data", help="module:function that gives batches.")]
TableOption = Annotated[str | None, typer.Option("--table", help="A file with an axes table; by default that of the model, or of the checkpoint's family.")]
