# The two commands of the README are `make demo` and `make test`; both set up what they need.
# V=1 shows the commands.

PREFIX ?= /usr/local
DESTDIR ?=
# Debian's packages have vendor-completions.
ZSH_FUNCTIONS ?= $(PREFIX)/share/zsh/site-functions
CLANG ?= clang
SWIFT ?= swift
# Swift's toolchain has one, beside its swift. What it takes away is DWARF: BTF stays.
OBJCOPY ?= $(dir $(shell readlink -f "$$(command -v $(SWIFT))"))llvm-objcopy

VERSION := $(shell sed -n 's/^let version = "\(.*\)"$$/\1/p' Sources/throttle/Version.swift)

BINARY := .build/release/throttle
OBJECTS := $(patsubst %,build/bpf/%.bpf.o,maps limits limits-v3 limits-v2 tcp download upload open)
PKGCONFIG := build/pkgconfig/libbpf.pc build/pkgconfig/libnl-route-3.0.pc
# One static executable: no Swift, libbpf, libelf, zlib or libnl has to be on the host. lld, as gold warns of
# glibc functions in Foundation that we never call; its ICF, which keeps one of each identical function, saves 200 kB.
# Without incremental code generation, as the hashes of modules that it leaves in the binary depend on the folder; and
# without debug information, which would be stripped anyway, but makes code 1 % larger.
RELEASE := -c release -debug-info-format none -Xswiftc -Xfrontend -Xswiftc -disable-incremental-llvm-codegen \
	-Xswiftc -static-executable -Xswiftc -use-ld=lld -Xlinker -s -Xlinker --gc-sections -Xlinker --icf=all \
	-Xlinker --no-eh-frame-hdr -Xlinker -T -Xlinker $(CURDIR)/scripts/no-unwind.ld
SWIFTPM := --pkg-config-path build/pkgconfig
C_FILES := $(wildcard bpf/*.[ch] Sources/*/*.[ch] Sources/*/include/*.h Tests/*/*.c Tests/*/Fixtures/*.c \
	scripts/bench/*.c)
MAN_PAGES := $(wildcard man/*.1)
SHELL_FILES := .ci/run scripts/build-arm64 scripts/debian-mirror scripts/demo scripts/install-packages \
	scripts/require-root completions/throttle.bash action/install action/run debian/throttle.postinst \
	debian/throttle.postrm
GUEST_FILES := $(filter-out %.py,$(wildcard Tests/Guests/*))

BUILD_PACKAGES := clang libbpf-dev libelf-dev libnl-route-3-dev zlib1g-dev pkg-config
DEMO_PACKAGES := python3 wget
TEST_PACKAGES := bash-completion bpftool busybox-static clang-format curl dropbear-bin fish git hey iperf3 iproute2 jq \
	libcap2-bin mandoc nginx-light openssh-client openssh-sftp-server podman procps python3-pip python3-yaml rsync \
	shellcheck strace sudo systemd util-linux zsh
BENCH_PACKAGES := aria2 rsync
KERNELS_PACKAGES := cpio debian-archive-keyring kmod python3 qemu-system-x86
ARM64_PACKAGES := debootstrap mount qemu-system-arm qemu-user-static
DEB_PACKAGES := build-essential debhelper dpkg-dev
PACKAGE_TEST_PACKAGES := debootstrap git iproute2 lintian mount python3-venv python3-yaml shellcheck wget

Q := $(if $(V),,@)
.DELETE_ON_ERROR:
.PHONY: all bpf build deps deps-demo deps-test demo test lint format bench picture test-kernels test-arm64 install \
	setcap uninstall clean version dist deb debian/changelog test-packages

all: build

bpf: $(OBJECTS)

# -mcpu=v3 has the cmpxchg of Linux 5.12; limits-v2 is for 5.10 and 5.11, limits-v3 for all before 5.17, which has
# bpf_loop().
build/bpf/limits-v2.bpf.o: BPF_FLAGS := -mcpu=v2 -DTHROTTLE_NO_CMPXCHG -DTHROTTLE_NO_LOOP
build/bpf/limits-v3.bpf.o: BPF_FLAGS := -mcpu=v3 -DTHROTTLE_NO_LOOP
build/bpf/%-v2.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) Makefile | deps
	$(compile-bpf)
build/bpf/%-v3.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) Makefile | deps
	$(compile-bpf)
build/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) Makefile | deps
	$(compile-bpf)

BPF_FLAGS := -mcpu=v3
define compile-bpf
$(Q)mkdir -p $(@D)
$(Q)$(CLANG) -target bpf $(BPF_FLAGS) -g -O2 -Wall -Wextra -Werror \
	-ffile-prefix-map=$(CURDIR)=. -I/usr/include/$(shell uname -m)-linux-gnu -c $< -o $@
$(Q)$(OBJCOPY) --strip-debug $@
endef

# Debian's .pc files name the shared libraries; -l:NAME.a takes the static ones they came with.
$(PKGCONFIG): build/pkgconfig/%.pc: Makefile | deps
	$(Q)mkdir -p $(@D)
	$(Q)libs=$$(pkg-config --static --libs $* | sed 's/-l\([a-z0-9-]*\)/-l:lib\1.a/g'); \
	printf 'Name: $*\nDescription: $*, static\nVersion: %s\nLibs: %s\nCflags: %s\n' \
		"$$(pkg-config --modversion $*)" "$$libs" "$$(pkg-config --cflags $*)" > $@

build: $(OBJECTS) $(PKGCONFIG)
	$(Q)$(SWIFT) build $(RELEASE) $(SWIFTPM) --product throttle

deps:
	$(Q)scripts/install-packages $(BUILD_PACKAGES)

deps-demo: deps
	$(Q)scripts/install-packages $(DEMO_PACKAGES)

deps-test: deps-demo
	$(Q)scripts/install-packages $(TEST_PACKAGES)

demo: deps-demo build
	$(Q)scripts/demo $(BINARY)

test: deps-test build lint
	$(Q)scripts/require-root "make test"
	$(Q)$(SWIFT) test $(SWIFTPM)

# QUICK=1: under 3 minutes; FULL=1: everything, for hours; CELLS="tcp/veth/* udp/*": those (--list names them). Only whole
# runs write to docs/. trickle is only compared with; aioquic is for the QUIC cells. Both may be missing.
BENCH_OPTIONS := $(if $(QUICK),--quick) $(if $(FULL),--full) $(if $(CELLS),--cells $(CELLS)) \
	$(if $(QUICK)$(CELLS),,--output docs)
bench: deps-test build
	$(Q)scripts/require-root "make bench"
	$(Q)scripts/install-packages $(BENCH_PACKAGES)
	$(Q)scripts/install-packages trickle 2>/dev/null || true
	$(Q)build/quic/bin/python3 -c 'import aioquic' 2>/dev/null || { scripts/install-packages python3-venv && \
		/usr/bin/python3 -m venv build/quic && build/quic/bin/pip install -q aioquic; } >/dev/null 2>&1 || true
	$(Q)set -f; /usr/bin/python3 -B scripts/bench $(BINARY) $(BENCH_OPTIONS)

# The README's picture, from a real run.
picture: deps-test build
	$(Q)scripts/require-root "make picture"
	$(Q)scripts/picture $(BINARY) docs/progress.svg

# KERNELS: which guests, as in KERNELS="6.1 systemd". All it boots is fetched into build/kernels, once.
test-kernels: build
	$(Q)scripts/install-packages $(KERNELS_PACKAGES)
	$(Q)scripts/test-kernels $(BINARY) $(KERNELS)

# The same for arm64, built here: see scripts/build-arm64.
test-arm64: build
	$(Q)scripts/require-root "make test-arm64"
	$(Q)scripts/install-packages $(KERNELS_PACKAGES) $(ARM64_PACKAGES)
	$(Q)scripts/build-arm64 $(RELEASE)
	$(Q)scripts/test-kernels build/arm64/throttle $(KERNELS)

lint: deps-test
	$(Q)$(SWIFT) format lint --strict --recursive Package.swift Sources Tests
	$(Q)clang-format --dry-run -Werror $(C_FILES)
	$(Q)shellcheck $(SHELL_FILES)
	$(Q)shellcheck -x $(GUEST_FILES)
	$(Q)mandoc -T lint -W warning $(MAN_PAGES)
	$(Q)! grep -rnE '^import Foundation$$|String\(format:' Sources # would make the binary 44 MB larger

format:
	$(Q)$(SWIFT) format --in-place --recursive Package.swift Sources Tests
	$(Q)clang-format -i $(C_FILES)

install:
	$(Q)test -x $(BINARY) || { echo "make install: nothing built yet: run make first" >&2; exit 1; }
	$(Q)install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/throttle
	$(Q)install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(MAN_PAGES)
	$(Q)install -D -m 644 completions/throttle.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/throttle
	$(Q)install -D -m 644 completions/_throttle $(DESTDIR)$(ZSH_FUNCTIONS)/_throttle
	$(Q)install -D -m 644 completions/throttle.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/throttle.fish

version:
	@echo $(VERSION)

# The source as it is committed, in an archive that has the same bytes wherever it is made.
dist:
	$(Q)test -e .git || { echo "make dist: only in a clone, as the archive is made by git" >&2; exit 1; }
	$(Q)git diff --quiet HEAD || echo "make dist: what isn't committed isn't in it" >&2
	$(Q)mkdir -p build
	$(Q)git archive --format=tar --prefix=throttle-$(VERSION)/ HEAD | gzip -9n > build/throttle-$(VERSION).tar.gz

# dpkg-buildpackage's place for what it makes is the folder above; here it is build.
deb: debian/changelog build
	$(Q)scripts/install-packages $(DEB_PACKAGES)
	$(Q)DEB_FOLDER=build dpkg-buildpackage --build=binary --no-sign --buildinfo-file=build/throttle.buildinfo \
		--buildinfo-option=-ubuild --changes-file=build/throttle.changes --changes-option=-ubuild >build/deb.log 2>&1 \
		|| { cat build/deb.log >&2; exit 1; }
	$(Q)grep -o 'build/throttle_[^ ]*\.deb' build/deb.log

# The date is the commit's, or in an archive that of the files, which is the same: no two builds shall differ.
debian/changelog:
	$(Q)printf 'throttle (%s-1) unstable; urgency=medium\n\n  * Version %s: see changelog.gz.\n\n -- %s  %s\n' \
		$(VERSION) $(VERSION) "$$(sed -n 's/^Maintainer: //p' debian/control)" \
		"$$(LC_ALL=C date -u -R -d @$$(test -e .git && git log -1 --format=%ct || stat -c %Y CHANGELOG.md))" > $@

# Builds a second time, elsewhere; then package and action in clean Debian 12 and 13, whose roots stay in build/roots.
test-packages: deb dist
	$(Q)scripts/require-root "make test-packages"
	$(Q)scripts/install-packages $(PACKAGE_TEST_PACKAGES)
	$(Q)test -x build/schemas/bin/check-jsonschema || { /usr/bin/python3 -m venv build/schemas && \
		build/schemas/bin/pip install -q check-jsonschema; }
	$(Q)build/schemas/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(Q)build/schemas/bin/check-jsonschema --builtin-schema vendor.github-actions action/action.yml
	$(Q)scripts/test-packages

# Lets ordinary users limit: see CAPABILITIES in throttle(1).
setcap:
	$(Q)scripts/install-packages libcap2-bin
	$(Q)test -x $(DESTDIR)$(PREFIX)/bin/throttle || { echo "make setcap: nothing installed yet: run make install first" >&2; \
		exit 1; }
	$(Q)setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(DESTDIR)$(PREFIX)/bin/throttle

uninstall:
	$(Q)rm -f $(DESTDIR)$(PREFIX)/bin/throttle $(MAN_PAGES:man/%=$(DESTDIR)$(PREFIX)/share/man/man1/%) \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/throttle \
		$(DESTDIR)$(ZSH_FUNCTIONS)/_throttle \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/throttle.fish

clean:
	$(Q)rm -rf build .build debian/changelog debian/files debian/.debhelper debian/debhelper-build-stamp debian/throttle \
		debian/*.debhelper debian/*.debhelper.log debian/*.substvars
