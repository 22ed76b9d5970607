# make demo     install into .venv and run the demonstration on the bundled phantom
# make test     install what the tests need, then lint, types, tests of the core and of the panel
# make test-slicer   the tests of the panel alone
# make pictures      draw the panel's pictures for the documentation again
# make bench    measure everything and write docs/results.md
# make weights  train the shipped models again from generated data, and fit the grading to their losses
#
# TORCH is handed to `pip install` as it stands:
#   make demo TORCH=torch                                                          the newest, with CUDA on Linux
#   make demo TORCH="torch==2.13.0 --index-url URL-OF-PYTORCH-CPU-WHEELS"   the small one, without CUDA; the URL is what
#                                                                           pytorch.org/get-started shows for "CPU"

TORCH ?= torch==2.13.0
# Some installations have a python3.13 that does not start, or one without venv: take the first that really works.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11; do \
	"$$python" -c "import ensurepip, venv" >/dev/null 2>&1 && echo "$$python" && exit; done; echo python3)

VENV := .venv
RUN := $(VENV)/bin/python
CORE := HealthiVertCore
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-core test-slicer pictures bench weights clean

demo: $(VENV)/installed
	$(VENV)/bin/healthivert demo --out demo --force

test: test-core test-slicer

test-core: $(VENV)/installed-for-test
	@Testing/install_system_packages.sh
	$(RUN) -m ruff check --config $(CORE)/pyproject.toml $(CORE)/src Testing
	$(RUN) -m ruff format --check --config $(CORE)/pyproject.toml $(CORE)/src Testing
	cd $(CORE) && ../$(RUN) -m mypy
	$(RUN) -m pytest -q -c $(CORE)/pyproject.toml Testing/core

# Slicer's own classes are on PyPI for Python 3.10 to 3.13
test-slicer: $(VENV)/installed-for-test-slicer
	@Testing/install_system_packages.sh
	$(RUN) -m ruff check --config $(CORE)/pyproject.toml HealthiVertSlicer
	$(RUN) -m ruff format --check --config $(CORE)/pyproject.toml HealthiVertSlicer
	$(RUN) -m pytest -q Testing/slicer

pictures: $(VENV)/installed-for-test-slicer
	@Testing/install_system_packages.sh
	$(RUN) Testing/slicer/pictures.py

bench: $(VENV)/installed
	$(RUN) Testing/bench/bench.py

weights: $(VENV)/installed
	for model in gan diffusion; do $(RUN) -m healthivert.training.recipe $$model --work runs/weights \
		--out $(CORE)/src/healthivert/weights/$$model.safetensors || exit; done
	$(RUN) -m healthivert.hgam.train --work runs/weights/hgam \
		--out $(CORE)/src/healthivert/weights/fracture_cnn.safetensors
	$(RUN) -m pip install --quiet --editable "$(CORE)[report,grading]"
	test -e runs/weights/grading/case_0043/truth.json || { rm -rf runs/weights/grading; $(VENV)/bin/healthivert phantom \
		--fractured --out runs/weights/grading --count 44 --seed 4100; }
	$(VENV)/bin/healthivert fit-grading --phantoms runs/weights/grading --force \
		--out $(CORE)/src/healthivert/data/genant_svm.json

clean:
	rm -rf $(VENV) demo

$(RUN):
	$(PYTHON) -m venv $(VENV)

# A stamp per step, renewed when the requirements change, or when TORCH asks for another build than the one that is there;
# so a second `make` starts at once.
ifneq ($(origin TORCH),file)
OTHER_TORCH := $(shell grep -qsxF '$(TORCH)' $(VENV)/torch || echo other-torch)
endif
.PHONY: other-torch

$(VENV)/installed: $(CORE)/pyproject.toml $(OTHER_TORCH) | $(RUN)
	$(RUN) -m pip install --quiet $(if $(OTHER_TORCH),$(if $(wildcard $(VENV)/torch),--force-reinstall)) $(TORCH)
	@echo '$(TORCH)' > $(VENV)/torch
	$(RUN) -m pip install --quiet --editable "$(CORE)[report]"
	@touch $@

$(VENV)/installed-for-test: $(CORE)/pyproject.toml | $(VENV)/installed
	$(RUN) -m pip install --quiet --editable "$(CORE)[test]"
	@touch $@

$(VENV)/installed-for-test-slicer: $(CORE)/pyproject.toml | $(VENV)/installed
	$(RUN) -m pip install --quiet --editable "$(CORE)[test-slicer]"
	@touch $@
