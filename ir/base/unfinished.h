// Files while they are written: `.NAME.nfcc-PID.PLACE.new` beside NAME, renamed when whole, so that files appear whole
// or not at all. PLACE tells machines and containers apart, which have equal process numbers. Signals that end the
// process wait meanwhile: an interrupted one removes what it began.
#pragma once
#include <signal.h>
#include <stdbool.h>

// The name to write `path` under (malloc; NULL: no memory), once what dead processes left of it is removed: of this
// place by their process number, of others after a day.
char *unfinished_name(const char *path);
// The signals that would end the process wait from here on; `before`: those that waited already.
void unfinished_hold(sigset_t *before);
bool unfinished_interrupted(void); // one waits: it is not worth going on
// What waits is delivered here, with nothing left to tidy up.
void unfinished_release(const sigset_t *before);
