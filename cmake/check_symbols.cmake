# Fails where an object compiled for one instruction set defines a symbol that the linker could merge with
# another object's: code for AVX-512 would then run on a machine that has none. Allowed are the table
# kernels_<isa>, what bears the instruction set's own namespace in its name, and the compiler's references to
# its unwinder, which are no code.
execute_process(COMMAND ${NM} --defined-only ${LIBRARY} OUTPUT_VARIABLE listing COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" lines "${listing}")
string(LENGTH ${ISA} length)
foreach(line IN LISTS lines)
  # Lower case is local to the object, but for v, w and u, which the linker merges.
  if(line MATCHES " ([A-Zuvw]) ([^ ]+)$")
    set(symbol ${CMAKE_MATCH_2})
    if(NOT symbol MATCHES "8unrolled${length}${ISA}|kernels_${ISA}E?$|^DW\\.ref\\.")
      list(APPEND strangers ${symbol})
    endif()
  endif()
endforeach()
if(strangers)
  list(JOIN strangers "\n  " strangers)
  message(FATAL_ERROR "isa.cpp for ${ISA} defines symbols outside namespace unrolled::${ISA}, which the "
    "linker may hand to code for other machines; make them static, or members of the namespace:\n  ${strangers}")
endif()
