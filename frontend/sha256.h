// SHA-256 of bytes that come in pieces: the hash by which a compiled policy names its model.
#pragma once
#include <stddef.h>

typedef struct evp_md_ctx_st Sha256;
Sha256 *sha256_begin(void);
void sha256_add(Sha256 *sha, const void *data, size_t size);
void sha256_end(Sha256 *sha, unsigned char digest[32]); // frees it
