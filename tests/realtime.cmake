# What runtime/REALTIME.md promises, on compiled policies: a flow with a context, the denoised lander policy, a graph that is
# no flow, an inverse by a bracketed root, a policy whose products are AMX tiles. Instructions are counted on the flow and
# the root, of `./dev test --long` on the tiles, too: a step of the debugger is slow.
add_executable(realtime_test ${CMAKE_CURRENT_LIST_DIR}/realtime_test.c)
target_link_libraries(realtime_test PRIVATE nfcc_static cmocka m)

function(realtime_test name model how)
  set(policy ${CMAKE_CURRENT_BINARY_DIR}/realtime_${name}.so)
  add_test(NAME realtime/compile_${name} COMMAND nfcc ${CMAKE_CURRENT_LIST_DIR}/models/${model} -o ${policy} ${ARGN})
  add_test(NAME realtime/${name} COMMAND realtime_test ${policy} ${how})
  set_tests_properties(realtime/compile_${name} PROPERTIES FIXTURES_SETUP realtime_${name})
  set_tests_properties(realtime/${name} PROPERTIES FIXTURES_REQUIRED realtime_${name})
endfunction()

if(NOT NFCC_FUZZ)
  realtime_test(flow nf4rl_tiny__density__dyn.onnx "")
  realtime_test(march lander_nfbc.onnx --quick --denoise 0.1 --clip -1,1)
  realtime_test(graph gauss_policy__mean_std__ts17.onnx --quick)
  realtime_test(root root.nf "" --event x --latent z)
  realtime_test(tiles lander_nfbc.onnx --quick --denoise 0.1 --clip -1,1 --weights bf16 --cpu sapphirerapids)
  set_tests_properties(realtime/tiles PROPERTIES SKIP_RETURN_CODE 77) # this CPU has none
endif()
