#include "nfcc.h"
#include <cstdio>
#include <vector>

int main()
{
    nfcc_policy *policy;
    if (nfcc_status status = nfcc_open("./policy.so", 0, &policy)) return puts(nfcc_status_text(status)), 1;
    const size_t rows = 3, samples = 64, d = nfcc_get_info(policy)->event_size;
    std::vector<float> obs(rows * 8, 0.5f), x(rows * samples * d), log_prob(rows * samples);
    std::vector<char> work(nfcc_get_info(policy)->work_size), prepared(nfcc_prepared_size(policy, rows));
    const void *contexts[] = {obs.data()};
    nfcc_noise noise = NFCC_NOISE(42);
    nfcc_prepare(policy, rows, contexts, prepared.data(), work.data());
    nfcc_sample(policy, prepared.data(), &noise, samples, x.data(), work.data());
    nfcc_log_prob(policy, prepared.data(), samples, x.data(), log_prob.data(), work.data());
    std::printf("%zu samples, log_prob of the first %.3f\n", rows * samples, log_prob[0]);
    nfcc_close(policy);
}
