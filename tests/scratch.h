// A folder of a test's own: made before each test, removed with its files after it (cmocka's setup and teardown).
#pragma once

extern char scratch[64]; // its path

int scratch_make(void **state);
int scratch_remove(void **state);
int scratch_files(void); // how many are in it
