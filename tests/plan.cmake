# The Plan's interpreter and its verifier.
foreach(unit plan plan_verify)
  add_executable(${unit}_test ${CMAKE_CURRENT_LIST_DIR}/${unit}_test.c ${CMAKE_CURRENT_LIST_DIR}/plan_case.c)
  target_link_libraries(${unit}_test PRIVATE nf_ir cmocka)
  add_test(NAME unit/${unit} COMMAND ${unit}_test)
endforeach()
