# Bits: the Plan's interpreter (same_bits_plan) against compiled policies (same_bits_run, also for aarch64), run by
# test_same_bits.py.
add_executable(same_bits_plan ${CMAKE_CURRENT_LIST_DIR}/same_bits_plan.c)
target_link_libraries(same_bits_plan PRIVATE nf_frontend nf_passes)
set(SAME_BITS ${CMAKE_CURRENT_LIST_DIR}/same_bits_run.c ${RUNTIME_SOURCES})
add_executable(same_bits_run ${SAME_BITS})
target_include_directories(same_bits_run PRIVATE ${CMAKE_SOURCE_DIR}/runtime)
target_link_libraries(same_bits_run PRIVATE pthread ${CMAKE_DL_LIBS})

if(AARCH64_GCC AND NOT NFCC_SANITIZE AND NOT NFCC_FUZZ)
  set(cross ${CMAKE_BINARY_DIR}/same_bits_aarch64)
  add_custom_command(OUTPUT ${cross} COMMAND ${AARCH64_GCC} -std=gnu17 -O2 -I ${CMAKE_SOURCE_DIR}/runtime ${SAME_BITS}
    -o ${cross} -lpthread -ldl DEPENDS ${SAME_BITS} VERBATIM)
  add_custom_target(same_bits_aarch64 ALL DEPENDS ${cross})
endif()
