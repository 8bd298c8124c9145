# Generated flows through the whole compiler: a hundred, fewer under sanitizers; ./dev test --long runs a thousand.
add_executable(flows_test ${CMAKE_CURRENT_LIST_DIR}/flows_test.c)
target_link_libraries(flows_test PRIVATE nf_frontend nf_passes nf_backends nfcc_static)
set(flows 100)
if(NFCC_SANITIZE)
  set(flows 25)
endif()
add_test(NAME flows/generated COMMAND flows_test ${flows})
