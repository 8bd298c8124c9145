// SHA-256 (FIPS 180-4), by OpenSSL: the hash by which a compiled policy names its model.
#include "onnx_import.h"

#include <openssl/sha.h>

void sha256(const void *data, size_t size, unsigned char digest[32]) { SHA256(data, size, digest); }
