# Allocations of a program that is linked so pass the fault point `malloc` (base/fault_malloc.c).
set(HK_FAULT_WRAPS
    -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=reallocarray,--wrap=strdup,--wrap=strndup)

# hk_library(NAME SOURCES a.c b.c LINK other libraries): one folder, one static library.
function(hk_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(hk_${name} STATIC ${ARG_SOURCES})
  target_include_directories(hk_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(hk_${name} PUBLIC ${ARG_LINK})
endfunction()

# hk_program(NAME SOURCES a.c LINK libraries): an executable, on jemalloc unless a sanitizer brings its own allocator.
function(hk_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/include ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  if(NOT HK_SANITIZE)
    target_link_libraries(${name} PRIVATE PkgConfig::JEMALLOC)
  endif()
endfunction()

# hk_unit_test(FOLDER MODULE libraries...): tests/unit/FOLDER/test_MODULE.c as the test unit.FOLDER.MODULE.
# It may include the private headers of its folder.
function(hk_unit_test folder module)
  set(target test_${folder}_${module})
  add_executable(${target} ${PROJECT_SOURCE_DIR}/tests/unit/${folder}/test_${module}.c)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/${folder})
  target_link_libraries(${target} PRIVATE ${ARGN} PkgConfig::CMOCKA)
  add_test(NAME unit.${folder}.${module} COMMAND ${target} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(unit.${folder}.${module} PROPERTIES TIMEOUT 600) # what hangs; a busy machine may take ten times as long
endfunction()

# hk_fault_test(FOLDER MODULE libraries...): a unit test in which calls fail as tests/unit/faults.h tells.
function(hk_fault_test folder module)
  hk_unit_test(${folder} ${module} ${ARGN})
  set(target test_${folder}_${module})
  target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/unit/faults.c)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/unit)
  target_link_libraries(${target} PRIVATE hk_base)
  # Where off_t was given 64 bits by name, the C library calls the same function NAME64.
  foreach(call malloc calloc realloc reallocarray strdup strndup asprintf vasprintf
               hk_xcalloc hk_xrealloc hk_xstrdup hk_xasprintf hk_sha256_hex
               open open64 openat openat64 fopen fopen64 fdopen opendir fstat fstat64 lseek lseek64 mmap mmap64 mremap
               rename fsync fdatasync fchmod ftruncate ftruncate64 posix_fallocate posix_fallocate64
               read pread pread64 write pwrite pwrite64 recv recvmsg send sendmsg
               socket socketpair bind connect listen accept4 getsockopt eventfd pipe2 fork)
    target_link_options(${target} PRIVATE -Wl,--wrap=${call})
  endforeach()
endfunction()

# hk_fuzz(NAME file libraries...): a libFuzzer target with its seeds in tests/fuzz/seeds/NAME.
function(hk_fuzz name file)
  if(HK_FUZZ)
    add_executable(fuzz_${name} ${PROJECT_SOURCE_DIR}/tests/fuzz/${file})
    target_include_directories(fuzz_${name} PRIVATE ${PROJECT_SOURCE_DIR}/include)
    target_compile_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    target_link_libraries(fuzz_${name} PRIVATE ${ARGN})
  endif()
endfunction()

# hk_integration_test(NAME seconds): tests/integration/NAME.py against real servers, judged at the receiver. It has four times
# the seconds, which are twice what it takes: other tests and builds may run beside it.
function(hk_integration_test name seconds)
  math(EXPR seconds "${seconds} * 4")
  add_test(NAME integration.${name}
           COMMAND /usr/bin/python3 ${PROJECT_SOURCE_DIR}/tests/integration/${name}.py ${CMAKE_BINARY_DIR})
  set_tests_properties(integration.${name} PROPERTIES TIMEOUT ${seconds})
endfunction()
