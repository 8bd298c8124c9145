#include "nfcc.h"
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    nfcc_policy *policy;
    nfcc_status status = nfcc_open("./policy.so", 0, &policy);
    if (status) return puts(nfcc_status_text(status)), 1;
    void *work = malloc(nfcc_get_info(policy)->work_size), *prepared = malloc(nfcc_prepared_size(policy, 1));
    float obs[8] = {0.1f, 1.2f}, action[8], log_prob; /* this policy: obs [8] -> action [8] */
    const void *contexts[] = {obs};
    nfcc_noise noise = NFCC_NOISE(42);
    nfcc_prepare(policy, 1, contexts, prepared, work);
    nfcc_sample_and_log_prob(policy, prepared, &noise, 1, action, &log_prob, work);
    printf("action %.3f %.3f, log_prob %.3f\n", action[0], action[1], log_prob);
    nfcc_close(policy);
    return 0;
}
