"""What `import loomweight` costs over `import torch`: each in a fresh process, the two in turn, medians.

    python bench/import_cost.py [--rounds 7] [--json]

The budget is 0.3 s. It is measured here and not asserted in a test: a busy machine is no defect of the code.
"""

import argparse
import json
import statistics
import subprocess
import sys

SCRIPT = """
import time
import torch
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""
MODULES = ("loomweight", "loomweight.cli")


def cost(module: str) -> float:
    """Seconds that importing `module` takes in a process that has imported torch."""
    return float(subprocess.run([sys.executable, "-c", SCRIPT.format(module=module)], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {module: [] for module in MODULES}
    for _ in range(options.rounds):
        for module in MODULES:
            seconds[module].append(cost(module))
    if options.json:
        print(json.dumps(seconds))
        return
    print(f"{'seconds over import torch':28} median    min    max")
    for module, taken in seconds.items():
        print(f"{'import ' + module:28} {statistics.median(taken):6.3f} {min(taken):6.3f} {max(taken):6.3f}")


if __name__ == "__main__":
    main()
