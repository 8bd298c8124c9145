// The published list of names (EXPORT.md): what decides roles where neither the user nor a log_prob does.
#include "roles.h"

#include <string.h>

// Names of numbers per row may go on after a mark that is no letter: logdet_sample, log_prob.1; the others are exact.
static const char *const NAMES[][7] = {
    [NAME_EVENT_INPUT] = {"x", "action", "event"},
    [NAME_LATENT_INPUT] = {"noise", "z", "eps", "latent"},
    [NAME_EVENT_OUTPUT] = {"action", "sample", "event"}, // and x_*
    [NAME_LATENT_OUTPUT] = {"z", "latent"},
    [NAME_LOG_DET] = {"log_det", "logdet", "log_abs_det", "logabsdet", "log_det_jacobian", "ldj"},
    [NAME_LOG_PROB] = {"log_prob", "logprob", "log_p", "logp", "log_density"},
};

bool published(const char *name, NameKind kind)
{
    bool goes_on = kind == NAME_LOG_DET || kind == NAME_LOG_PROB;
    if (kind == NAME_EVENT_OUTPUT && !strncmp(name, "x_", 2)) return true;
    for (const char *const *list = NAMES[kind]; *list; list++) {
        size_t n = strlen(*list);
        if (!strncmp(name, *list, n) && (goes_on ? name[n] < 'a' || name[n] > 'z' : !name[n])) return true;
    }
    return false;
}

int roles_port(const Port *ports, int n, const char *name)
{
    for (int i = 0; name && i < n; i++)
        if (!strcmp(ports[i].name, name)) return i;
    return -1;
}
