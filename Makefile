# Builds dfget, dfdaemon, dfctl, dfcache and dfinit (one program, five names) from src/, with nothing but a C11 compiler, GNU make and BearSSL.
#   make | make test | make demo | make bench | make lint | make fuzz | make check-all | make install
#   SAN=address,undefined or SAN=thread: sanitizer builds.  STATIC=1: no shared library at all.  BUILD=dir: objects elsewhere.

CC ?= cc
AR ?= ar
PREFIX ?= /usr/local
DESTDIR ?=
PYTHON ?= /usr/bin/python3
OPT ?= -O2
empty :=
space := $(empty) $(empty)
comma := ,
BUILD ?= build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))

# V=1 shows the commands.
Q := $(if $(filter 1,$(V)),,@)
say = @printf '  %-4s %s\n' $(1) $(patsubst $(BUILD)/%,%,$(2))

MAKEFLAGS += --no-print-directory
# Targets that build for a person use all CPUs, unless -j says otherwise.
JOBS := $(if $(findstring j,$(filter-out --%,$(firstword $(MAKEFLAGS)))),,-j$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2))

VERSION := 0.1.0
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wformat=2 -Wwrite-strings -Wcast-qual -Wpointer-arith -Wvla -Wundef -Wdouble-promotion
CPPFLAGS_ALL := -D_POSIX_C_SOURCE=200809L -D_XOPEN_SOURCE=700 -DDRAGONFLY_VERSION='"$(VERSION)"' -Isrc -I$(BUILD)/gen $(CPPFLAGS)
CFLAGS_ALL := -std=c11 $(OPT) -g $(WARN) $(WERROR) -fno-strict-aliasing -pthread $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all) $(CFLAGS)
LDFLAGS_ALL := -pthread $(if $(SAN),-fsanitize=$(SAN)) $(if $(STATIC),-static) $(LDFLAGS)
BEARSSL_LIBS ?= -lbearssl
CMOCKA_LIBS ?= -lcmocka

# A room may use rooms before it in this list, never one after it: test programs of a room are linked with those alone.
ROOMS := base text wire proto net store source config cluster peer scheduler serve

room_srcs = $(sort $(wildcard src/$(1)/*.c) $(wildcard src/$(1)/os/*.c))
PROTO_FILES := $(sort $(wildcard proto/*.proto))
PROTO_NAMES := $(notdir $(PROTO_FILES:.proto=))
PROTO_HDRS := $(PROTO_NAMES:%=$(BUILD)/gen/proto/%.h)
PROTO_SRCS := $(PROTO_NAMES:%=$(BUILD)/gen/proto/%.c)

objs_proto := $(PROTO_SRCS:$(BUILD)/gen/%.c=$(BUILD)/obj/%.o)
$(foreach r,$(filter-out proto,$(ROOMS)),$(eval objs_$(r) := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(call room_srcs,$(r)))))
objs_cmd := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(call room_srcs,cmd))
LIBS := $(ROOMS:%=$(BUILD)/lib%.a)

# The libraries of a room and all below it, highest first as a linker wants them.
reverse = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
upto = $(if $(2),$(firstword $(2)) $(if $(filter $(firstword $(2)),$(1)),,$(call upto,$(1),$(wordlist 2,$(words $(2)),$(2)))))
libs_upto = $(patsubst %,$(BUILD)/lib%.a,$(call reverse,$(strip $(call upto,$(1),$(ROOMS)))))

.PHONY: all deps demo test unit e2e bench lint fuzz check-all install clean
.SECONDARY:
.DELETE_ON_ERROR:

NAMES := dfdaemon dfctl dfcache dfinit

all: $(BUILD)/dfget $(NAMES:%=$(BUILD)/%)

$(BUILD)/dfget: $(objs_cmd) $(LIBS)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $(objs_cmd) $(call libs_upto,serve) $(LDFLAGS_ALL) $(BEARSSL_LIBS)

$(NAMES:%=$(BUILD)/%): $(BUILD)/dfget
	$(Q)ln -f $< $@

# ---- libraries and objects ----
define room_rules
$(BUILD)/lib$(1).a: $$(objs_$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(Q)$$(AR) rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room_rules,$(r))))

$(BUILD)/obj/%.o: src/%.c | $(PROTO_HDRS)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(FLAGS_$(notdir $*)) -MMD -MP -c -o $@ $<

$(BUILD)/obj/proto/%.o: $(BUILD)/gen/proto/%.c | $(PROTO_HDRS)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/pbgen: proto/pbgen.c proto/pbgen_read.c proto/pbgen.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) -std=c11 -O1 $(WARN) -o $@ proto/pbgen.c proto/pbgen_read.c

$(BUILD)/gen/proto/%.h $(BUILD)/gen/proto/%.c: proto/%.proto $(PROTO_FILES) $(BUILD)/pbgen
	@mkdir -p $(@D)
	$(call say,GEN,$(BUILD)/gen/proto/$*.h)
	$(Q)$(BUILD)/pbgen proto $* $(BUILD)/gen/proto

# Hardware versions of crc32 and sha256 need their instructions switched on for that one file.
FLAGS_crc32_x86 := $(if $(filter x86_64 amd64,$(shell uname -m)),-msse4.2 -mpclmul)
WIDE := -mavx512f -mvpclmulqdq -mpclmul -mxsave
FLAGS_crc32_x86_wide := $(if $(FLAGS_crc32_x86),$(shell $(CC) $(WIDE) -E -x c /dev/null >/dev/null 2>&1 && echo $(WIDE)))
FLAGS_sha256_x86 := $(if $(filter x86_64 amd64,$(shell uname -m)),-msse4.1 -msha)
FLAGS_crc32_arm := $(if $(filter aarch64 arm64,$(shell uname -m)),-march=armv8-a+crc)
FLAGS_sha256_arm := $(if $(filter aarch64 arm64,$(shell uname -m)),-march=armv8-a+crypto)

# ---- tests ----
TEST_SUPPORT := $(patsubst tests/%.c,$(BUILD)/tests/%.o,$(sort $(wildcard tests/support/*.c)))
unit_srcs = $(sort $(wildcard tests/unit/$(1)/test_*.c))
define unit_rules
$(BUILD)/tests/unit/$(1)/%: $(BUILD)/tests/unit/$(1)/%.o $(TEST_SUPPORT) $(call libs_upto,$(1))
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(CFLAGS_ALL) -o $$@ $$< $$(TEST_SUPPORT) $(call libs_upto,$(1)) $$(LDFLAGS_ALL) $$(CMOCKA_LIBS) $$(BEARSSL_LIBS)
.PHONY: unit-$(1)
unit-$(1): $(patsubst tests/%.c,$(BUILD)/tests/%,$(call unit_srcs,$(1)))
	@tests/run-unit $$^
endef
$(foreach r,$(ROOMS),$(eval $(call unit_rules,$(r))))
UNIT_BINS := $(foreach r,$(ROOMS),$(patsubst tests/%.c,$(BUILD)/tests/%,$(call unit_srcs,$(r))))

$(BUILD)/tests/%.o: tests/%.c | $(PROTO_HDRS)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) -Itests $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

.PHONY: unit-all-built
unit-all-built: $(UNIT_BINS)

unit: $(UNIT_BINS)
	@tests/run-unit $^

# ---- programs beside the product: the test origin, load tools, fuzz targets ----
$(BUILD)/tests/origin/origin: $(BUILD)/tests/origin/origin.o $(filter $(BUILD)/tests/support/origin%,$(TEST_SUPPORT)) $(call libs_upto,net)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(LDFLAGS_ALL) $(BEARSSL_LIBS)

$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(call libs_upto,serve)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $< $(call libs_upto,serve) $(LDFLAGS_ALL) $(BEARSSL_LIBS)

# libFuzzer comes with clang. FUZZ_SECONDS a target; FUZZ=name runs one alone.
FUZZ_SECONDS ?= 60
FUZZ ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_BUILD := $(BUILD)/fuzz
FUZZ_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

.PHONY: fuzz-build
fuzz:
	@tests/deps fuzz
	@$(MAKE) $(JOBS) fuzz-build
	@tests/run-fuzz $(FUZZ_BUILD) $(FUZZ_SECONDS) $(FUZZ)

fuzz-build:
	@$(MAKE) BUILD=$(FUZZ_BUILD) CC=clang OPT=-O1 CFLAGS="$(FUZZ_FLAGS)" LDFLAGS="$(FUZZ_FLAGS)" fuzz-targets

.PHONY: fuzz-targets
fuzz-targets: $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

$(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(LIBS)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -o $@ $< $(call libs_upto,serve) $(LDFLAGS_ALL) $(BEARSSL_LIBS)

# ---- what a person runs ----
TEST_PROGRAMS := $(BUILD)/tests/origin/origin
E2E ?= $(sort $(wildcard tests/e2e/test_*.py) $(filter-out %_support.py,$(wildcard tests/e2e/cli_*.py)))

deps:
	@tests/deps

test: deps
	@$(MAKE) $(JOBS) test-built

.PHONY: test-built
test-built: all $(TEST_PROGRAMS) $(UNIT_BINS)
	@BUILD=$(abspath $(BUILD)) PYTHON=$(PYTHON) tests/run-all $(abspath $(BUILD)) "$(UNIT_BINS)" "$(E2E)"

.PHONY: e2e-programs
e2e-programs: all $(TEST_PROGRAMS)

e2e: e2e-programs
	@BUILD=$(abspath $(BUILD)) PYTHON=$(PYTHON) tests/run-all $(abspath $(BUILD)) "" "$(E2E)"

# Mixed load on the proxies for SOAK minutes: no error that it did not cause, no growth after the first minute. Also: make SAN=address,undefined soak.
SOAK ?= 15
.PHONY: soak
soak: e2e-programs
	@$(PYTHON) tests/e2e/soak_proxy.py $(abspath $(BUILD)) $(SOAK)

# Beside real programs given by path: make interop SCHEDULER=... MANAGER=... DFDAEMON=... DFGET=...; INTEROP="--only NAME" for a part.
.PHONY: interop
interop: e2e-programs
	@tests/deps interop
	@$(PYTHON) tests/interop/run.py $(abspath $(BUILD)) "$(SCHEDULER)" "$(MANAGER)" "$(DFDAEMON)" "$(DFGET)" $(INTEROP)

demo: deps
	@$(MAKE) $(JOBS) all $(TEST_PROGRAMS)
	@$(PYTHON) tests/demo.py $(abspath $(BUILD))

.PHONY: bench-programs
bench-programs: all $(TEST_PROGRAMS) $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/bench/*.c))

bench: deps
	@$(MAKE) $(JOBS) bench-programs
	@$(PYTHON) tests/bench/run.py $(abspath $(BUILD))

.PHONY: proto-headers
proto-headers: $(PROTO_HDRS)

lint:
	@tests/deps lint
	@$(MAKE) proto-headers
	@tests/lint $(abspath $(BUILD))

check-all:
	@tests/check-all

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/doc/dragonfly
	install -m 755 -s $(BUILD)/dfget $(DESTDIR)$(PREFIX)/bin/dfget
	for name in $(NAMES); do ln -f $(DESTDIR)$(PREFIX)/bin/dfget $(DESTDIR)$(PREFIX)/bin/$$name; done
	install -m 644 $(wildcard doc/*.1) $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 LICENSE doc/*.md doc/dfdaemon.service $(DESTDIR)$(PREFIX)/share/doc/dragonfly/

clean:
	rm -rf build

-include $(shell find $(BUILD)/obj $(BUILD)/tests -name '*.d' 2>/dev/null)
