# Writes a C++ header with the SHA-256 of files' contents and names, only if it is another one.
#
#   cmake -DFOLDER=... -DLIST=... -DHEADER=... -P source_digest.cmake
#
# LIST is a file with a path in each line, relative to FOLDER; their order does not matter.
cmake_minimum_required(VERSION 3.25...4.4)

file(STRINGS ${LIST} files ENCODING UTF-8)
list(SORT files)
set(lines "")
foreach(file IN LISTS files)
  file(SHA256 ${FOLDER}/${file} digest)
  string(APPEND lines "${digest}  ${file}\n")
endforeach()
string(SHA256 digest "${lines}")
file(CONFIGURE OUTPUT ${HEADER} @ONLY CONTENT
  "#pragma once\n\ninline constexpr const char* kSourceDigest = \"${digest}\";\n")
