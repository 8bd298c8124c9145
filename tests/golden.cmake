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

foreach(unit text eval build)
  add_executable(${unit}_test ${CMAKE_CURRENT_LIST_DIR}/${unit}_test.c)
  target_link_libraries(${unit}_test PRIVATE test_fixture test_same_module)
  add_test(NAME unit/${unit} COMMAND ${unit}_test)
endforeach()

# fuzz_TARGET.c with libFuzzer (NFCC_FUZZ), and with replay.c for the normal tests
set(fuzz_libraries_text test_same_module)
set(fuzz_libraries_onnx nf_frontend)
set(fuzz_seeds_text ${CMAKE_CURRENT_LIST_DIR}/fuzz/corpus/text ${CMAKE_CURRENT_LIST_DIR}/ir)
set(fuzz_seeds_onnx ${CMAKE_CURRENT_LIST_DIR}/fuzz/corpus/onnx)
if(NFCC_FUZZ)
  target_compile_definitions(nf_ir PRIVATE FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)
endif()
foreach(target text onnx)
  set(source ${CMAKE_CURRENT_LIST_DIR}/fuzz/fuzz_${target}.c)
  add_executable(replay_${target} ${source} ${CMAKE_CURRENT_LIST_DIR}/fuzz/replay.c)
  target_link_libraries(replay_${target} PRIVATE ${fuzz_libraries_${target}})
  add_test(NAME fuzz/replay_${target} COMMAND replay_${target} ${fuzz_seeds_${target}})
  if(NFCC_FUZZ)
    add_executable(fuzz_${target} ${source})
    target_link_libraries(fuzz_${target} PRIVATE ${fuzz_libraries_${target}})
    target_link_options(fuzz_${target} PRIVATE -fsanitize=fuzzer,address,undefined)
  endif()
endforeach()
