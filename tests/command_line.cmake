# `nfcc run` without the compiler (run_policy.c), for this machine and, where the cross compiler is, for aarch64; and the
# tests of NumPy's files.
set(RUN_POLICY ${CMAKE_CURRENT_LIST_DIR}/run_policy.c ${CMAKE_SOURCE_DIR}/frontend/cli_entry.c
  ${CMAKE_SOURCE_DIR}/frontend/cli_entry_pieces.c ${CMAKE_SOURCE_DIR}/frontend/cli_npy.c
  ${CMAKE_SOURCE_DIR}/frontend/cli_npy_write.c ${CMAKE_SOURCE_DIR}/ir/base/arena.c
  ${CMAKE_SOURCE_DIR}/ir/base/unfinished.c ${RUNTIME_SOURCES})
add_executable(run_policy ${RUN_POLICY})
target_include_directories(run_policy PRIVATE ${CMAKE_SOURCE_DIR}/frontend ${CMAKE_SOURCE_DIR}/ir ${CMAKE_SOURCE_DIR}/runtime)
target_link_libraries(run_policy PRIVATE ${CMAKE_DL_LIBS} m)

find_program(AARCH64_GCC aarch64-linux-gnu-gcc)
if(AARCH64_GCC AND NOT NFCC_SANITIZE AND NOT NFCC_FUZZ)
  set(cross ${CMAKE_BINARY_DIR}/run_policy_aarch64)
  add_custom_command(OUTPUT ${cross} COMMAND ${AARCH64_GCC} -std=gnu17 -O2 -ffp-contract=off -I ${CMAKE_SOURCE_DIR}/frontend
    -I ${CMAKE_SOURCE_DIR}/ir -I ${CMAKE_SOURCE_DIR}/runtime ${RUN_POLICY} -o ${cross} -ldl -lm DEPENDS ${RUN_POLICY} VERBATIM)
  add_custom_target(run_policy_aarch64 ALL DEPENDS ${cross})
endif()

add_executable(npy_test ${CMAKE_CURRENT_LIST_DIR}/npy_test.c ${CMAKE_SOURCE_DIR}/frontend/cli_npy.c
  ${CMAKE_SOURCE_DIR}/frontend/cli_npy_write.c ${CMAKE_SOURCE_DIR}/frontend/cli_npz.c
  ${CMAKE_SOURCE_DIR}/ir/base/unfinished.c)
target_include_directories(npy_test PRIVATE ${CMAKE_SOURCE_DIR}/frontend ${CMAKE_SOURCE_DIR}/ir)
target_link_libraries(npy_test PRIVATE cmocka ZLIB::ZLIB)
add_test(NAME unit/npy COMMAND npy_test)
