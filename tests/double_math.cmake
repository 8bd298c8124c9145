# What ends in an output file may not depend on the host's libm: the compiler's libraries refer to none of its
# functions that are not exact.
add_test(NAME unit/no_libm COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/no_libm.sh
  $<TARGET_FILE:nf_ir> $<TARGET_FILE:nf_passes> $<TARGET_FILE:nf_frontend> $<TARGET_FILE:nf_backends>)
