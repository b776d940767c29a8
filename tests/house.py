"""Finders for what the house rules forbid. Each takes a syntax tree and gives the lines where it found something."""

import ast
from collections import Counter
from collections.abc import Callable, Iterator

Finder = Callable[[ast.Module], list[int]]
Function = ast.FunctionDef | ast.AsyncFunctionDef

RUNS_CODE = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
HEAVY = {
    "transformers",
    "peft",
    "huggingface_hub",
    "optuna",
    "cmaes",
    "matplotlib",
    "jinja2",
    "sklearn",
    "scipy",
    "ray",
    "flwr",
    "nvflare",
    "torchft",
    "lightning",
}
OUTSIDE = {"os", "io", "pathlib", "shutil", "tempfile", "subprocess", "socket", "urllib", "safetensors"}
DRAWS = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli", "multinomial", "normal", "poisson"}
DRAWS_IN_PLACE = {"normal_", "uniform_", "bernoulli_", "random_", "exponential_", "cauchy_", "log_normal_", "geometric_"}
NARROW = {"float16", "bfloat16", "half", "float8_e4m3fn", "float8_e5m2"}


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name of what is called, the call); `?` stands for anything that is no name."""
    return ((dotted(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(top-level package, line) of every absolute import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0], node.lineno


def has(call: ast.Call, keyword: str, value: object = ...) -> bool:
    found = [k.value for k in call.keywords if k.arg == keyword]
    return bool(found) and (value is ... or (isinstance(found[0], ast.Constant) and found[0].value is value))


def imports_of_what_runs_code(tree: ast.Module) -> list[int]:
    """Pickle and its kin, of which nothing but the errors may be touched."""
    found = [line for name, line in imported(tree) if name in RUNS_CODE - {"pickle"}]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "pickle":
            found += [node.lineno for alias in node.names if not alias.name.endswith("Error")]
        elif isinstance(node, ast.Attribute) and dotted(node.value) == "pickle" and not node.attr.endswith("Error"):
            found.append(node.lineno)
    return found


def loads_that_run_code(tree: ast.Module) -> list[int]:
    """`torch.load` without `weights_only=True`, `numpy.load` with pickles, TorchScript, YAML loaders that build objects."""
    return [
        call.lineno
        for name, call in calls(tree)
        if (name == "torch.load" and not has(call, "weights_only", True))
        or name in ("torch.jit.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec")
        or has(call, "allow_pickle", True)
    ]


def forwarded_kwargs(tree: ast.Module) -> list[int]:
    """`def f(**options): g(**options)`."""
    return [
        f.lineno
        for f in functions(tree)
        if f.args.kwarg
        for _, call in calls(f)
        for k in call.keywords
        if k.arg is None and dotted(k.value) == f.args.kwarg.arg
    ]


#: of modules called random, what makes a generator of its own, or puts the shared one back
OWN_RANDOMNESS = ("default_rng", "fork_rng")


def global_randomness(tree: ast.Module) -> list[int]:
    """Numbers drawn from, or seeds given to, a generator that the whole process shares."""
    found = [line for name, line in imported(tree) if name == "random"]
    for name, call in calls(tree):
        owner, _, last = name.rpartition(".")
        draws = (owner == "torch" and last in DRAWS) or last in DRAWS_IN_PLACE
        if (draws and not has(call, "generator")) or name in ("torch.manual_seed", "torch.seed") or (owner.endswith(".random") and last not in OWN_RANDOMNESS):
            found.append(call.lineno)
    return found


def files_touched(tree: ast.Module) -> list[int]:
    """Anything that reaches outside the process: for packages that are pure."""
    return [line for name, line in imported(tree) if name in OUTSIDE] + [call.lineno for name, call in calls(tree) if name in ("open", "print", "input")]


def weight_files_written(tree: ast.Module) -> list[int]:
    return [
        call.lineno
        for name, call in calls(tree)
        if name == "torch.save" or name.rpartition(".")[2] in ("save_file", "save_model", "serialize_file", "serialize")
    ]


def narrowing_casts(tree: ast.Module) -> list[int]:
    """`.half()`, `.bfloat16()`, `.to(torch.float16)` and their like."""
    named = {
        ast.unparse(arg): call.lineno
        for name, call in calls(tree)
        if name.endswith((".to", ".type"))
        for arg in [*call.args, *(k.value for k in call.keywords)]
    }
    return [line for text, line in named.items() if text.removeprefix("torch.") in NARROW] + [
        call.lineno for name, call in calls(tree) if name.endswith((".half", ".bfloat16"))
    ]


def heavy_at_module_level(tree: ast.Module) -> list[int]:
    """Imports that run when the module is imported, of libraries that are to be loaded when used."""
    inside = {id(node) for f in functions(tree) for node in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            inside |= {id(child) for part in node.body for child in ast.walk(part)}
    outside = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inside]
    return [line for node in outside for name, line in imported(node) if name in HEAVY]


def isinstance_ladders(tree: ast.Module) -> list[int]:
    """Functions that branch on the type of one thing three times or more."""
    return [f.lineno for f in functions(tree) if any(count > 2 for count in _branches_on_type(f).values())]


def _branches_on_type(function: Function) -> Counter[str]:
    """How many `if` and `elif` ask for the type of each thing."""
    tests = [node.test for node in ast.walk(function) if isinstance(node, ast.If | ast.IfExp)]
    return Counter(thing for test in tests for thing in {ast.unparse(call.args[0]) for name, call in calls(test) if name == "isinstance"})


def future_annotations(tree: ast.Module) -> list[int]:
    return [line for name, line in imported(tree) if name == "__future__"]


def too_many_arguments(tree: ast.Module) -> list[int]:
    """More than seven, the object itself not counted."""
    every = {f.lineno: [a.arg for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)] for f in functions(tree)}
    return [line for line, names in every.items() if len(set(names) - {"self", "cls"}) > 7]


def code_lines(function: Function) -> int:
    """Lines of a function, its docstring, comments and blank lines not counted."""
    doc = function.body[0] if ast.get_docstring(function) is not None else None
    skipped = set(range(doc.lineno, (doc.end_lineno or doc.lineno) + 1)) if doc else set()
    used = {line for node in ast.walk(function) if hasattr(node, "lineno") for line in (node.lineno, node.end_lineno or node.lineno)}  # type: ignore[attr-defined]
    return len(used - skipped)
