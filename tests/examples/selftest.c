#include "nfcc.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    nfcc_policy *policy;
    nfcc_status status = nfcc_open(argc > 1 ? argv[1] : "./policy.so", 0, &policy);
    if (status) return puts(nfcc_status_text(status)), 1;
    size_t size = nfcc_selftest_size(policy);
    status = nfcc_selftest(policy, malloc(size), size); /* the stored rows, bit for bit */
    puts(nfcc_status_text(status));
    nfcc_close(policy);
    return status != NFCC_OK;
}
