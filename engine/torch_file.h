// Reads the tensors of PyTorch's .pt files: a zip archive of one pickle and of the tensors' stored
// bytes. Nothing in the pickle is run: it is read as data (pickle.h), and what is not a tensor, a
// number, a text or a list, tuple or dict of them ends in an error that names it. Format:
// torch/serialization.py of PyTorch 1.6 and later.
#ifndef TERN_ENGINE_TORCH_FILE_H_
#define TERN_ENGINE_TORCH_FILE_H_

#include <map>
#include <string>

#include "engine/mapped_file.h"
#include "engine/safetensors.h"

namespace tern {

// Move-only. Tensors live as long as the object.
class TorchFile {
 public:
  // Throws kNotFound; kUnsupported for files of PyTorch before 1.6, which are no archives; kBadFile
  // where the content is not what the format demands: a damaged archive, a pickle with anything but
  // data, a tensor that leaves its storage or is not contiguous, containers deeper than
  // kMaxTorchDepth.
  explicit TorchFile(const std::string& path);

  // By the keys on their way, joined by points: {"heads": {"w_in": tensor}} is "heads.w_in", the
  // third tensor of a list "list.2". Numbers and texts of the file are left out. The dtype is that
  // of safetensors.
  const std::map<std::string, SafetensorsTensor, std::less<>>& tensors() const { return tensors_; }

 private:
  MappedFile file_;
  std::map<std::string, SafetensorsTensor, std::less<>> tensors_;
};

inline constexpr int kMaxTorchDepth = 16;

}  // namespace tern

#endif  // TERN_ENGINE_TORCH_FILE_H_
