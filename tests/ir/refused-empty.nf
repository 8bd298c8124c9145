# error: a module without functions
