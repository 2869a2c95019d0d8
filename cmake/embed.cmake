# embed.cmake - a file as a C array: cmake -DIN=file -DOUT=file.c -DNAME=symbol -P embed.cmake
# As character constants, for bytes of 0x80 and above are negative where char is signed.
# It defines `const char NAME[]` (with a NUL behind the bytes) and `const size_t NAME_length`.
file(READ ${IN} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR length "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
string(REGEX REPLACE "(................................................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include <stddef.h>\n\nextern const char ${NAME}[];\nextern const size_t ${NAME}_length;\n"
                  "const char ${NAME}[] = {\n${bytes}\n0};\nconst size_t ${NAME}_length = ${length};\n")
