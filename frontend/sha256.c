// SHA-256 (FIPS 180-4), by OpenSSL.
#include "sha256.h"

#include <openssl/evp.h>

Sha256 *sha256_begin(void)
{
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    EVP_DigestInit_ex(sha, EVP_sha256(), NULL);
    return sha;
}

void sha256_add(Sha256 *sha, const void *data, size_t size) { EVP_DigestUpdate(sha, data, size); }

void sha256_end(Sha256 *sha, unsigned char digest[32])
{
    EVP_DigestFinal_ex(sha, digest, NULL);
    EVP_MD_CTX_free(sha);
}
