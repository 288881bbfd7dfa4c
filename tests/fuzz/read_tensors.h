// Reads every tensor of a file of tensors.
#ifndef TERN_TESTS_FUZZ_READ_TENSORS_H_
#define TERN_TESTS_FUZZ_READ_TENSORS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/safetensors.h"
#include "tests/fuzz/error_only.h"
#include "tests/fuzz/memory_file.h"

namespace tern {

// Opens the bytes as a File. Either all works or an Error is thrown, which counts as working.
template <class File>
void ReadTensors(const uint8_t* data, size_t size) {
  const MemoryFile input(data, size);
  ErrorOnly([&] {
    const File file(input.path());
    for (const auto& entry : file.tensors()) {
      size_t values = 1;
      for (const size_t extent : entry.second.shape) values *= extent;
      std::vector<float> floats(values);
      // Another dtype, or a value that is not finite, is an error.
      ErrorOnly([&] { ReadFloats(entry.second, floats); });
    }
  });
}

}  // namespace tern

#endif  // TERN_TESTS_FUZZ_READ_TENSORS_H_
