// Any bytes as a .pt file, every tensor read. Either works or throws Error.
#include "engine/torch_file.h"
#include "tests/fuzz/read_tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tern::ReadTensors<tern::TorchFile>(data, size);
  return 0;
}
