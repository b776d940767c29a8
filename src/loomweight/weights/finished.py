"""Whether an output is there already, as far as that shows without its data: headers, lengths, files beside them."""

from pathlib import Path

from .load import Source, load
from .place import Place
from .write import Output, laid_out


def finished(weights: Source, output: Output) -> bool:
    """True where the output holds exactly the weight files that these weights would be written to, and `output.files` as they are given.

    Headers (names, shapes, dtypes, ties, metadata, places) and lengths are compared, no tensor is read: what the tensors were made
    of must stand in the metadata or in one of the files. Other files of the folder are not looked at.

    >>> import tempfile
    >>> import torch
    >>> from loomweight import save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save({"w": torch.ones(2)}, f"{folder}/out")
    ...     finished({"w": torch.ones(2)}, Output(path)), finished({"w": torch.ones(3)}, Output(path))
    (True, False)
    """
    place = Place.at(output.path)
    if not place.target.exists() or place.target.is_dir() == place.single:
        return False
    layout, beside = laid_out(load(weights), output, place)
    folder = place.target.parent if place.single else place.target
    shards = {shard.file: shard for shard in layout.shards}
    if not place.single and {path.name for path in folder.glob("*.safetensors")} != shards.keys():
        return False
    held = all((folder / name).is_file() and (folder / name).read_bytes() == content for name, content in beside.items())
    return held and all(
        (folder / name).is_file() and (folder / name).stat().st_size == shard.nbytes and _starts(folder / name, shard.header) for name, shard in shards.items()
    )


def _starts(path: Path, header: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(header)) == header
