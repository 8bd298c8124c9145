# The golden tests, the replayed fuzz corpora and (NFCC_FUZZ) the libFuzzer targets: included by tests/CMakeLists.txt.
# One CTest test per .nf file: golden/<folder>/<case>.
add_library(test_same_module STATIC ${CMAKE_CURRENT_LIST_DIR}/same_module.c)
target_include_directories(test_same_module PUBLIC ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(test_same_module PUBLIC nf_ir)

add_executable(golden ${CMAKE_CURRENT_LIST_DIR}/golden.c)
target_link_libraries(golden PRIVATE nf_passes test_same_module)
file(GLOB GOLDEN_FILES CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_LIST_DIR}
  ${CMAKE_CURRENT_LIST_DIR}/ir/*.nf ${CMAKE_CURRENT_LIST_DIR}/passes/*/*.nf)
foreach(file ${GOLDEN_FILES})
  string(REGEX REPLACE "\\.nf$" "" name ${file})
  add_test(NAME golden/${name} COMMAND golden ${CMAKE_CURRENT_LIST_DIR}/${file})
endforeach()

add_test(NAME golden/every-pass COMMAND golden --passes ${CMAKE_CURRENT_LIST_DIR}/passes)

foreach(unit text eval)
  add_executable(${unit}_test ${CMAKE_CURRENT_LIST_DIR}/${unit}_test.c)
  target_link_libraries(${unit}_test PRIVATE test_same_module cmocka)
  add_test(NAME unit/${unit} COMMAND ${unit}_test)
endforeach()

foreach(target text onnx)
  set(fuzz_sources ${CMAKE_CURRENT_LIST_DIR}/fuzz/fuzz_${target}.c)
  add_executable(replay_${target} ${fuzz_sources} ${CMAKE_CURRENT_LIST_DIR}/fuzz/replay.c)
  target_link_libraries(replay_${target} PRIVATE nf_frontend test_same_module)
  set(seeds ${CMAKE_CURRENT_LIST_DIR}/fuzz/corpus/${target})
  if(target STREQUAL text)
    list(APPEND seeds ${CMAKE_CURRENT_LIST_DIR}/ir)
  endif()
  add_test(NAME fuzz/replay_${target} COMMAND replay_${target} ${seeds})
  if(NFCC_FUZZ)
    add_executable(fuzz_${target} ${fuzz_sources})
    target_link_libraries(fuzz_${target} PRIVATE nf_frontend test_same_module)
    target_link_options(fuzz_${target} PRIVATE -fsanitize=fuzzer,address,undefined)
  endif()
endforeach()
