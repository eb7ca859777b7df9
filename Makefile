# SPDX-License-Identifier: GPL-2.0-or-later
#
# The front door. Each target does all that it needs, and little when there is little to do.

MAKEFLAGS += --no-print-directory
PREFIX ?= /usr/local
LIB = $(DESTDIR)$(PREFIX)/lib/skip-balloon
SHARE = $(DESTDIR)$(PREFIX)/share

.PHONY: help qemu qemu-tests qemu-stock qemu-package qemu-tree qemu-series guest kernels program test-tools demo setup test test-qemu test-deb mutants bench install uninstall dist deb clean
# Both QEMUs share one source and one lock, and each uses all processors anyway.
.NOTPARALLEL:

help:
	@echo 'make demo         build everything, then migrate a ballooned guest with and without skip-balloon'
	@echo 'make test         build everything, then run the tests'
	@echo "make test-qemu    QEMU's own tests, in the unmodified build, in ours, and in ours with both capabilities on"
	@echo "make mutants      break QEMU in each of the ways of tests/mutants, and see that a test fails; MUTANTS=\"NAME...\""
	@echo 'make bench        measure ours against unmodified QEMU, draw build/bench/report.html; BENCH="--profile full"'
	@echo 'make qemu         QEMU with skip-balloon: build/bin/qemu-system-x86_64'
	@echo 'make qemu-stock   the same QEMU without it: build/bin/qemu-system-x86_64-stock'
	@echo "make qemu-package Debian's source package of QEMU with overlay and series in it: build/qemu-package"
	@echo 'make guest        the kernel and initramfs of the test guest: build/guest'
	@echo 'make kernels      the guests that test what kernels say of memory: build/kernel'
	@echo 'make program      the program: build/bin/skip-balloon'
	@echo 'make install      the program, its man pages, and its QEMU, which is not put on PATH, under PREFIX (now $(PREFIX)) and DESTDIR'
	@echo 'make uninstall    take that away'
	@echo 'make dist         a tarball of the last commit: build/dist'
	@echo 'make deb          its packages for this Debian, 12 or 13: build/deb'
	@echo 'make test-deb     build, install, use and remove the packages in chroots of Debian 12 and 13; SUITES="trixie"'
	@echo 'make qemu-tree    a git tree of QEMU to work in: build/qemu-tree'
	@echo 'make qemu-series  write its commits back to qemu/series'
	@echo 'make clean        remove build (downloads and compiler cache stay in ~/.cache/skip-balloon)'

qemu:
	@qemu/build.sh ours

qemu-tests:
	@qemu/build.sh ours --tests

qemu-stock:
	@qemu/build.sh stock

qemu-package:
	@qemu/build.sh package

qemu-tree:
	@qemu/build.sh tree

qemu-series:
	@qemu/build.sh series

guest:
	@guest/build.sh

kernels:
	@tests/kernel/build.sh

program:
	@scripts/program.sh

test-tools:
	@scripts/test-tools.sh

demo: qemu qemu-stock guest program
	@for backend in anon memfd; do \
	    build/bin/skip-balloon demo --stock build/bin/qemu-system-x86_64-stock --backend $$backend || exit; \
	done

setup: qemu-tests qemu-stock guest kernels program test-tools

test: setup
	@tests/run

test-qemu:
	@qemu/build.sh own_tests
	@tests/qemu-own/run

# Not part of `make test`: each Debian builds its own QEMU.
test-deb: guest
	@tests/deb/run $(SUITES)

# Not part of `make test`: it takes half an hour.
mutants: qemu-tests qemu-stock program
	@scripts/mutants.sh $(MUTANTS)

bench: qemu qemu-stock guest program
	@scripts/bench.sh $(BENCH)

# The layout of build/, since each part finds the others from where it is.
install: qemu guest program
	@mkdir -p '$(LIB)/bin' '$(DESTDIR)$(PREFIX)/bin'
	@install -m 755 build/bin/skip-balloon build/bin/qemu-system-x86_64 '$(LIB)/bin'
	@install -d '$(LIB)/guest' '$(LIB)/share'
	@install -m 644 build/guest/vmlinuz build/guest/initramfs.cpio.gz build/guest/kernel.version '$(LIB)/guest'
	@cp -r build/share/qemu '$(LIB)/share/'
	@ln -sfn ../lib/skip-balloon/bin/skip-balloon '$(DESTDIR)$(PREFIX)/bin/skip-balloon'
	@scripts/man.sh build/bin/skip-balloon build/doc
	@install -d '$(SHARE)/man/man1' '$(SHARE)/bash-completion/completions'
	@install -m 644 build/doc/man1/* '$(SHARE)/man/man1'
	@install -m 644 build/doc/completions/skip-balloon '$(SHARE)/bash-completion/completions'
	@echo 'installed $(DESTDIR)$(PREFIX)/bin/skip-balloon, its man pages, and $(LIB)/bin/qemu-system-x86_64'

uninstall:
	@rm -rf '$(LIB)'
	@rm -f '$(DESTDIR)$(PREFIX)/bin/skip-balloon' '$(SHARE)/man/man1/skip-balloon.1' '$(SHARE)/man/man1/skip-balloon-'*.1
	@rm -f '$(SHARE)/bash-completion/completions/skip-balloon'

dist:
	@scripts/dist.sh

deb:
	@scripts/deb.sh

clean:
	@rm -rf build
