#include "engine/error.h"

#include <system_error>

namespace tern {

Error BadFile(const FileProblem& problem) {
  std::string message = problem.path + ": " + problem.what;
  if (!problem.expected.empty()) message += ": expected " + problem.expected;
  if (!problem.got.empty())
    message += (problem.expected.empty() ? ": got " : ", got ") + problem.got;
  if (!problem.todo.empty()) message += "; " + problem.todo;
  return {Error::Kind::kBadFile, message};
}

Error InvalidArgument(const std::string& message) {
  return {Error::Kind::kInvalidArgument, message};
}
Error NotFound(const std::string& message) { return {Error::Kind::kNotFound, message}; }
Error Unsupported(const std::string& message) { return {Error::Kind::kUnsupported, message}; }
Error SystemError(const std::string& what, int code) {
  return {Error::Kind::kInternal, what + ": " + std::generic_category().message(code)};
}

}  // namespace tern
