# Any environment will do: make check PYTHON=/some/venv/bin/python. The README's commands make .venv.
PYTHON ?= .venv/bin/python
BIN = $(shell dirname "$$(command -v $(PYTHON))")

.PHONY: check test slow bench docs

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(PYTHON)
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2

test:
	$(BIN)/pytest -q -n 2

slow:
	$(BIN)/pytest -q -m slow

bench:
	$(PYTHON) bench/import_cost.py
	$(PYTHON) bench/write.py

docs:
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
