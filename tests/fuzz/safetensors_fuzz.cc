// Any bytes as a safetensors file, every tensor read. Either works or throws Error.
#include "tests/fuzz/read_tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tern::ReadTensors<tern::SafetensorsFile>(data, size);
  return 0;
}
