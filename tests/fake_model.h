// The fake policy opened: its descriptor, filled in as the compiler would, linked in (fake_image) or in a file of the
// test's folder (scratch.h), where it stands in the library that fake_policy.c is built as.
#pragma once
#include "fake_policy.h"
#include "nfcc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FAKE_WEIGHTS = 4096 /* bytes of a small policy's weights */, FAKE_LARGE = 3 << 20, FAKE_MEMORY = 8192 };

extern const char *fake_library; // path of that library: a test's first argument
extern uint32_t fake_few;        // not 0: all code is for few rows, up to so many at once

// The arguments of a test: FAKE.so [--few ROWS] [--only PATTERN]. False: they are something else.
bool fake_arguments(int argc, char **argv);

extern unsigned char fake_image[FAKE_IMAGE];

// The descriptor for code at offsets from `base` (where it will be mapped), into `image`.
void fake_build(unsigned char *image, const void *base, size_t weights_size);
// One more program in a built descriptor: noise gets the context's own mean and scale before it is z.
void fake_add_base(unsigned char *image, const void *base);
// Two more: both directions from EARLY lanes.
void fake_add_early(unsigned char *image, const void *base);

nfcc_policy *fake_static(void);                     // fake_image, built and opened
nfcc_policy *fake_static_of(const uint32_t *costs); // with these estimates of what tiles cost

typedef struct {
    unsigned char *file;
    size_t size, model; // where in the file the descriptor begins
} FakeFile;

FakeFile fake_file(size_t weights_size);
nfcc_policy *fake_open(const char *name, size_t weights_size, unsigned flags); // written and opened

const char *in_folder(const char *name);                          // its path, until the next call
void write_file(const char *name, const void *data, size_t size); // beside it and renamed, as the compiler does
