# The backends: plans of random steps (plan_maker), compiled and run (plan_compiled).
add_library(test_plans STATIC ${CMAKE_CURRENT_LIST_DIR}/plan_maker.c ${CMAKE_CURRENT_LIST_DIR}/plan_compiled.c
  ${CMAKE_CURRENT_LIST_DIR}/scratch.c)
target_include_directories(test_plans PUBLIC ${CMAKE_CURRENT_LIST_DIR} PRIVATE ${CMAKE_SOURCE_DIR}/runtime)
target_link_libraries(test_plans PUBLIC nf_backends nfcc_static cmocka)

foreach(unit backend policy_file)
  add_executable(${unit}_test ${CMAKE_CURRENT_LIST_DIR}/${unit}_test.c)
  target_link_libraries(${unit}_test PRIVATE test_plans)
  add_test(NAME unit/${unit} COMMAND ${unit}_test)
endforeach()
