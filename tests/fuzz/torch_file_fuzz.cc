// Any bytes as a .pt file, every tensor read. Either works or throws Error.
#include <vector>

#include "engine/error.h"
#include "engine/torch_file.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const tern::MemoryFile input(data, size);
  try {
    const tern::TorchFile file(input.path());
    for (const auto& [name, tensor] : file.tensors()) {
      size_t values = 1;
      for (const size_t extent : tensor.shape) values *= extent;
      std::vector<float> floats(values);
      try {
        tern::ReadFloats(tensor, floats);
      } catch (const tern::Error&) {  // another dtype, or a value that is not finite
      }
    }
  } catch (const tern::Error&) {
  }
  return 0;
}
