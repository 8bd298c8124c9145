# The importer: models that must be refused, ONNX's own backend node tests, and the models of tests/models in double.
add_executable(import_check ${CMAKE_CURRENT_LIST_DIR}/import_check.c)
target_link_libraries(import_check PRIVATE nf_frontend)

find_package(Python3 COMPONENTS Interpreter)
execute_process(COMMAND ${Python3_EXECUTABLE} -c "import onnx" RESULT_VARIABLE NO_ONNX OUTPUT_QUIET ERROR_QUIET)
if(Python3_FOUND AND NOT NFCC_SANITIZE)
  add_test(NAME import/models
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/check_import.py $<TARGET_FILE:import_check> ${CMAKE_CURRENT_LIST_DIR}/models)
  if(NO_ONNX EQUAL 0)
    foreach(check import_errors onnx_ops)
      add_test(NAME import/${check}
        COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/check_${check}.py $<TARGET_FILE:import_check>)
    endforeach()
  endif()
endif()
