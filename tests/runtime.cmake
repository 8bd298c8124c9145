# The runtime's tests: included by tests/CMakeLists.txt. The fake policy is a library without constructors, as policies are.
find_program(NM_TOOL NAMES nm REQUIRED)
find_package(Python3 COMPONENTS Interpreter)

add_library(fake_policy MODULE ${CMAKE_CURRENT_LIST_DIR}/fake_policy.c)
target_include_directories(fake_policy PRIVATE ${CMAKE_SOURCE_DIR}/runtime)
target_compile_options(fake_policy PRIVATE -O2 -fno-asynchronous-unwind-tables -fno-sanitize=all)
target_link_options(fake_policy PRIVATE -nostdlib -Wl,--hash-style=gnu,--build-id=none,-z,noseparate-code,-s -fno-sanitize=all)
target_compile_options(fake_policy PRIVATE # no calls of memset, no tables of pointers
  $<IF:$<C_COMPILER_ID:GNU>,-fno-tree-loop-distribute-patterns,-fno-builtin;-fno-jump-tables>)
set_target_properties(fake_policy PROPERTIES PREFIX "" C_VISIBILITY_PRESET hidden)

set(fake ${CMAKE_CURRENT_LIST_DIR}/fake_model.c ${CMAKE_CURRENT_LIST_DIR}/fake_rows.c ${CMAKE_CURRENT_LIST_DIR}/fake_policy.c
  ${CMAKE_CURRENT_LIST_DIR}/scratch.c)
foreach(part "" _files _promises _few _cpu)
  add_executable(runtime${part}_test ${CMAKE_CURRENT_LIST_DIR}/runtime${part}_test.c ${fake})
  target_link_libraries(runtime${part}_test PRIVATE nfcc_static cmocka pthread m)
endforeach()
foreach(few "" 4 128) # all tiles; code for few rows alone
  string(REGEX REPLACE "(.+)" "--few;\\1" option "${few}")
  add_test(NAME runtime/entries${few} COMMAND runtime_test $<TARGET_FILE:fake_policy> ${option})
  add_test(NAME runtime/files${few} COMMAND runtime_files_test $<TARGET_FILE:fake_policy> ${option})
  add_test(NAME runtime/promises${few} COMMAND runtime_promises_test $<TARGET_FILE:fake_policy> ${option})
endforeach()
add_test(NAME runtime/few COMMAND runtime_few_test $<TARGET_FILE:fake_policy>)
add_test(NAME runtime/cpu COMMAND runtime_cpu_test $<TARGET_FILE:fake_policy>)

# The same sources under ThreadSanitizer, which watches every access of several threads.
add_executable(runtime_tsan ${CMAKE_CURRENT_LIST_DIR}/runtime_promises_test.c ${fake} ${RUNTIME_SOURCES})
target_include_directories(runtime_tsan PRIVATE ${CMAKE_SOURCE_DIR}/runtime)
target_compile_options(runtime_tsan PRIVATE -fno-sanitize=all -fsanitize=thread $<$<C_COMPILER_ID:Clang>:-D__SANITIZE_THREAD__>)
target_link_options(runtime_tsan PRIVATE -fno-sanitize=all -fsanitize=thread)
target_link_libraries(runtime_tsan PRIVATE cmocka m ${CMAKE_DL_LIBS})
add_test(NAME runtime/threads COMMAND runtime_tsan $<TARGET_FILE:fake_policy> --only *_bulk*)
add_test(NAME runtime/shared_policy COMMAND runtime_tsan $<TARGET_FILE:fake_policy> --only *_threads)

# libnfcc.so exports the functions of nfcc.h and nothing else; nfcc.c computes no floats, alone compiles as C11, and nfcc.h
# as C++.
add_test(NAME runtime/abi COMMAND ${CMAKE_CURRENT_LIST_DIR}/abi.sh ${NM_TOOL} $<TARGET_FILE:nfcc_shared>)
add_test(NAME runtime/sources COMMAND ${CMAKE_CURRENT_LIST_DIR}/runtime_sources.sh ${CMAKE_SOURCE_DIR}/runtime)

if(Python3_FOUND AND NOT NFCC_SANITIZE)
  set(ready ${CMAKE_CURRENT_BINARY_DIR}/fake.so)
  add_test(NAME runtime/fake COMMAND runtime_files_test $<TARGET_FILE:fake_policy> ${ready})
  set_tests_properties(runtime/fake PROPERTIES FIXTURES_SETUP fake)
  add_test(NAME runtime/python COMMAND ${Python3_EXECUTABLE} -m pytest -q -p no:cacheprovider
    ${CMAKE_CURRENT_LIST_DIR}/test_python.py)
  set_tests_properties(runtime/python PROPERTIES FIXTURES_REQUIRED fake ENVIRONMENT
    "PYTHONPATH=${CMAKE_SOURCE_DIR}/runtime/python;PYTHONDONTWRITEBYTECODE=1;NFCC_LIBRARY=$<TARGET_FILE:nfcc_shared>;NFCC=$<TARGET_FILE:nfcc>;NFCC_FAKE=${ready}")
endif()
