// Folders appear whole or not at all: filled under a temporary name beside the place, renamed.
#ifndef TERN_ENGINE_ATOMIC_FOLDER_H_
#define TERN_ENGINE_ATOMIC_FOLDER_H_

#include <string>
#include <string_view>

namespace tern {

// Use: construct, write files into path(), Commit. Destroyed without Commit, it removes what was
// written and leaves what was there before. Failures throw Error.
class AtomicFolder {
 public:
  // Creates the temporary folder, and the folders above it. Throws kInvalidArgument where `target`
  // is there and not an empty folder, unless `replace`.
  explicit AtomicFolder(const std::string& target, bool replace = false);
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;
  ~AtomicFolder();

  const std::string& path() const { return temporary_; }
  void Write(const std::string& name, std::string_view content) const;
  void Commit();

 private:
  std::string target_, temporary_;
  bool replace_;
};

}  // namespace tern

#endif  // TERN_ENGINE_ATOMIC_FOLDER_H_
