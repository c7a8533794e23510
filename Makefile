# A fresh clone all the way: virtual environment, installation, run. The second time only the run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-slow lint clean

demo: $(VENV)/demo.stamp  ## draw short films, index them, search them, and write demo/index.html
	$(BIN)/python examples/demo.py demo

test: $(VENV)/test.stamp lint  ## everything but kill loops, fuzz and browser
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup

test-slow: $(VENV)/test.stamp  ## kill loops, fuzz, browser
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[all]'
	touch $@

# torch first and pinned: a looser requirement, asked first, would bring gigabytes of CUDA.
$(VENV)/test.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[all,torch,test]'
	touch $@ $(VENV)/demo.stamp

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache
