"""Run every recipe of recipes.py with mergekit and freeze what comes out: `python tests/parity/freeze.py`, where mergekit is installed.

frozen.json holds the version, the device, and for every recipe and tensor the three numbers of `fingerprint`.
"""

import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from models import fingerprint, write_models
from recipes import RECIPES
from safetensors.torch import load_file


def main() -> None:
    here = Path(__file__).absolute().parent
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_models(Path(folder))
        options = MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False, random_seed=0)
        for i, (name, text) in enumerate(RECIPES.items()):
            run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), f"out{i}", options)
            found[name] = {tensor: fingerprint(value) for tensor, value in sorted(load_file(f"out{i}/model.safetensors").items())}
    header = {"mergekit": version("mergekit"), "torch": version("torch"), "device": "cpu", "options": "defaults, random_seed 0"}
    lines = [f"{json.dumps(name)}: {json.dumps(tensors)}" for name, tensors in found.items()]
    results = ",\n".join(lines)
    (here / "frozen.json").write_text(f'{{"made_with": {json.dumps(header)},\n"results": {{\n{results}\n}}}}\n')


if __name__ == "__main__":
    main()
