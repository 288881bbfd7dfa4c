#include "engine/safetensors_writer.h"

#include <cstdint>
#include <nlohmann/json.hpp>

#include "kernels/check.h"

namespace tern {
namespace {

size_t DtypeSize(const std::string& dtype) {
  if (dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  if (dtype == "BF16") return 2;
  TERN_CHECK(dtype == "U8") << "dtype " << dtype;
  return 1;
}

}  // namespace

size_t TensorToWrite::ByteSize() const {
  size_t bytes = DtypeSize(dtype);
  for (size_t extent : shape) bytes *= extent;
  return bytes;
}

void WriteSafetensors(const std::string& path, const std::vector<TensorToWrite>& tensors) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};  // transformers refuses a file without it
  size_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    TERN_CHECK(!header.contains(tensor.name)) << tensor.name << " twice";
    const size_t end = offset + tensor.ByteSize();
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8,
              ' ');  // tensors begin aligned, as readers that map the file like
  std::string length(8, '\0');
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<char>(text.size() >> (8 * i));

  AtomicFile file(path);
  file.Write(length);
  file.Write(text);
  for (const TensorToWrite& tensor : tensors) {
    const uint64_t begin = file.bytes_written();
    tensor.write(file);
    TERN_CHECK(file.bytes_written() - begin == tensor.ByteSize()) << tensor.name;
  }
  file.Commit();
}

}  // namespace tern
