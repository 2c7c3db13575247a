# SPDX-License-Identifier: MIT
# The front door: each target installs the Debian packages that it needs, says
# what it does, and leaves the work to Meson and scripts/.

PREFIX ?= /usr/local
tool := build/tools/ummunotify

.PHONY: help
help:
	@echo 'make build        build the libraries and the tool under build/'
	@echo 'make drop-ins     the same, with what Open MPI and libfabric need for theirs'
	@echo 'make demo         copy a file with a stale cache and with ummunotify'
	@echo 'make demo-kernel  the same in a VM on the kernel module, and over RDMA'
	@echo 'make bench        measure what the monitor and the cache cost, beside UCX'
	@echo 'make bench-instructions  count what a hit of the cache executes'
	@echo 'make bench-kernel count what the kernel module costs, in a VM'
	@echo 'make bench-rdma   measure messages over RDMA with and without a cache, in a VM'
	@echo 'make check        run every test: compilers, sanitizers, model, kernels, install'
	@echo 'make check-long   the same, and the tests run ten times as long'
	@echo 'make check-kernel run the tests of the module in virtual machines'
	@echo 'make check-model  check the protocol with Spin'
	@echo 'make install      install below PREFIX=$(PREFIX), or DESTDIR'
	@echo 'make install-module  build the kernel module with DKMS, and load it'
	@echo 'make remove-module   undo that'
	@echo 'make format       format the C code'
	@echo 'make clean        remove what was built'

.PHONY: build
build:
	@scripts/install-packages.sh build
	@echo 'Building under build/ ...'
	@test -f build/build.ninja || meson setup build
	@ninja -C build

# Meson looks for these once, when it sets up the folder.
.PHONY: drop-ins
drop-ins:
	@scripts/install-packages.sh build drop-ins
	@test ! -f build/build.ninja || meson setup --reconfigure build >/dev/null
	@$(MAKE) --no-print-directory build

.PHONY: demo
demo: build
	@echo 'Running $(tool) demo'
	@$(tool) demo

.PHONY: demo-kernel
demo-kernel: build
	@scripts/install-packages.sh vm
	@echo 'Running scripts/vm/demo-kernel (some minutes)'
	@scripts/vm/demo-kernel

# Installed first, so that the build finds them.
.PHONY: bench
bench:
	@scripts/install-packages.sh build
	@scripts/install-packages.sh bench || \
		echo 'What is missing is left out of the comparison.'
	@test ! -f build/build.ninja || meson setup --reconfigure build >/dev/null
	@$(MAKE) --no-print-directory build
	@echo 'Running $(tool) bench'
	@$(tool) bench
	@$(tool) bench --quick --json >build/bench/tool.json
	@echo 'Running bench/cache/run (some minutes)'
	@bench/cache/run build

.PHONY: bench-instructions
bench-instructions: build
	@scripts/install-packages.sh bench
	@echo 'Running bench/cache/instructions'
	@bench/cache/instructions build

.PHONY: bench-kernel
bench-kernel: build
	@scripts/install-packages.sh vm
	@echo 'Running bench/kernel/run (some minutes)'
	@bench/kernel/run

.PHONY: bench-rdma
bench-rdma: drop-ins
	@scripts/install-packages.sh vm plot
	@echo 'Running bench/rdma/run (some minutes)'
	@bench/rdma/run

.PHONY: check
check: build
	@scripts/install-packages.sh check drop-ins model vm
	@scripts/check.sh

.PHONY: check-long
check-long: build
	@scripts/install-packages.sh check drop-ins model vm
	@UMMU_LONG=1 scripts/check.sh

.PHONY: check-kernel
check-kernel: build
	@scripts/install-packages.sh check drop-ins vm
	@scripts/check.sh kernel

.PHONY: check-model
check-model:
	@scripts/install-packages.sh model
	@model/check.sh

.PHONY: install
install: build
	@echo "Installing below $(DESTDIR)$(PREFIX) ..."
	@meson configure --prefix='$(PREFIX)' build
	@meson install -C build
	@test -n '$(DESTDIR)' || test "$$(id -u)" != 0 || ldconfig

.PHONY: install-module
install-module:
	@scripts/install-module.sh

.PHONY: remove-module
remove-module:
	@scripts/install-module.sh remove

.PHONY: format
format:
	@scripts/install-packages.sh format
	clang-format -i $$(git ls-files '*.c' '*.h')

.PHONY: clean
clean:
	rm -rf build build-check build-kmod
