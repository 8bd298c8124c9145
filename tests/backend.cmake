# The backends: plans of random steps (plan_maker), compiled and run (plan_compiled).
add_library(test_plans STATIC ${CMAKE_CURRENT_LIST_DIR}/plan_maker.c ${CMAKE_CURRENT_LIST_DIR}/plan_compiled.c
                             ${CMAKE_CURRENT_LIST_DIR}/compact_image.c)
target_link_libraries(test_plans PUBLIC test_fixture nf_backends nfcc_static)

foreach(unit backend policy_file)
  add_executable(${unit}_test ${CMAKE_CURRENT_LIST_DIR}/${unit}_test.c)
  target_link_libraries(${unit}_test PRIVATE test_plans)
  add_test(NAME unit/${unit} COMMAND ${unit}_test)
endforeach()
target_sources(policy_file_test PRIVATE ${CMAKE_SOURCE_DIR}/frontend/cli_native.c) # what a compile asks of its policy
target_link_libraries(policy_file_test PRIVATE nf_frontend nf_passes)
