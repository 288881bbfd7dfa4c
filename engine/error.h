// The exception family of tern. Thrown where an operation ends (a load, a request, a training run);
// expected outcomes are values. A message says what failed, where, what was expected, what was
// found and what to do, in one line.
#ifndef TERN_ENGINE_ERROR_H_
#define TERN_ENGINE_ERROR_H_

#include <stdexcept>
#include <string>
#include <string_view>

namespace tern {

class Error : public std::runtime_error {
 public:
  enum class Kind {
    kInvalidArgument,  // the caller's option or request is wrong
    kNotFound,         // a file or model that is not there
    kBadFile,          // a file whose content is wrong
    kUnsupported,      // valid, but not something tern does
    kOverloaded,       // try again later
    kInternal,         // a failure of the system (disk full, out of memory) or of tern
  };
  // Messages quote files and requests: control characters become spaces, so that it stays a line.
  Error(Kind kind, const std::string& message);
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

// What a file or a user wrote, for a message: at most 80 bytes, control characters as '?'.
std::string Printable(std::string_view text);

// "PATH: WHAT: expected EXPECTED, got GOT; DO". Empty parts are left out.
struct FileProblem {
  std::string path, what, expected, got, todo;
};
[[nodiscard]] Error BadFile(const FileProblem& problem);
[[nodiscard]] Error InvalidArgument(const std::string& message);
[[nodiscard]] Error NotFound(const std::string& message);
[[nodiscard]] Error Unsupported(const std::string& message);
// Appends the text of the errno value `code`, e.g. "No space left on device", and for the common
// ones what to do.
[[nodiscard]] Error SystemError(const std::string& what, int code);

}  // namespace tern

#endif  // TERN_ENGINE_ERROR_H_
