"""Slips on the command line: exit code 2, what is wrong and what there is, never a traceback; nothing is touched."""

import re
from pathlib import Path

import pytest

from ..cli.run import run
from .scene import LINEAR, everything, merged, recipe, refused

#: command -> what it says; these are refused by the parser, with its own frame around the words
PARSED = {
    "merg r.yaml out": r"No such command 'merg'",
    "merge r.yaml out --thread 2": r"No such option: --thread",
    "merge r.yaml out --threads two": r"Invalid value for '--threads'",
    "merge r.yaml out --threads": r"Option '--threads' requires an argument",
    "merge r.yaml": r"Missing argument 'out'",
    "merge": r"Missing argument 'recipe'",
    "merge r.yaml out more": r"unexpected extra argument",
    "recipe explan r.yaml": r"No such command 'explan'",
    "inspect": r"Missing argument 'path'",
    "tune r.yaml out": r"Missing option '--eval'",
    "--versoin": r"No such option: --versoin",
}

#: command -> what it says
REFUSED = {
    "merge r.yaml out --threads 0": r"threads must be at least 1, found 0",
    "merge r.yaml out --threads -3": r"threads must be at least 1, found -3",
    "merge r.yaml out --device cudaa": r"device 'cudaa' is not available here; there are: cpu",
    "merge r.yaml out --device cuda:99": r"device 'cuda:99' is not available here; there are: cpu",
    "merge r.yaml out --shard-size 5XB": r"a shard size is .* like '5GB' or '500MiB', found '5XB'",
    "merge r.yaml out --shard-size 0": r"a shard size is .*, found '0'",
    "merge r.yaml out --shard-size -5GB": r"a shard size is .*, found '-5GB'",
    "merge r.yaml /": r"cannot write to '/'",
    "merge r.yaml one/config.json/out": r"one/config\.json/out lies inside the input",
    f"merge r.yaml {'x' * 300}": r"File name too long",
    "merge r.yaml r.yaml/out": r"r\.yaml/out lies inside the input",
    "merge r.yaml notes/out": r"notes/out cannot be written: .*Not a directory",
    "merge r.yaml out --report x.txt": r"x\.txt: a report is an HTML file",
    "merge r.yaml out --report nowhere/x.html": r"nowhere/x\.html: there is no folder 'nowhere'",
    "merge r.yaml out --report one/config.json --overwrite": r"one/config\.json: a report is an HTML file",
    "inspect nothing": r"no such file or folder: 'nothing'",
    "inspect one --only nothing.*": r"no tensor that matches named 'nothing\.\*'",
    "diff one nothing": r"no such file or folder: 'nothing'",
    "methods tise": r"no method named 'tise'; nearest: 'ties'",
    "tune r.yaml out --eval accuracy": r"an evaluator is named module:function, found 'accuracy'",
}


def letters(text: str) -> str:
    """Its words alone: releases of the parser differ in capitals and colons."""
    return re.sub(r"[^a-z]+", " ", text.lower()).strip()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", PARSED)
def test_what_the_parser_refuses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(LINEAR)
    before = everything(Path.cwd())
    ran = run(capsys, *command.split())
    assert ran.code == 2 and ran.out == "" and "Traceback" not in ran.err
    assert ran.err.count("Error") == 1 and letters(PARSED[command]) in letters(ran.err)
    assert everything(Path.cwd()) == before


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", REFUSED)
def test_what_the_command_refuses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(LINEAR)
    Path("notes").write_text("a file where a folder is needed")
    refused(capsys, *command.split(), says=REFUSED[command])


@pytest.mark.usefixtures("here")
def test_the_options_that_were_meant(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR, "--threads", 2, "--device", "cpu", "--shard-size", "5MB")


def test_doctor_on_nothing_ends_with_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "doctor", here / "nothing")
    assert ran.code == 1 and ran.out.startswith("BAD ") and "no such file or folder" in ran.out
