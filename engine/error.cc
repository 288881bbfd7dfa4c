#include "engine/error.h"

#include <cerrno>
#include <system_error>

namespace tern {

namespace {

std::string OneLine(std::string message) {
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  }
  return message;
}

}  // namespace

Error::Error(Kind kind, const std::string& message)
    : std::runtime_error(OneLine(message)), kind_(kind) {}

Error BadFile(const FileProblem& problem) {
  std::string message = problem.path;
  if (!problem.what.empty()) message += ": " + problem.what;
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
  const char* todo = "";
  if (code == ENOSPC || code == EDQUOT || code == EFBIG)
    todo = "; free some space or write elsewhere";
  if (code == EACCES || code == EPERM || code == EROFS)
    todo = "; change the permissions or give another path";
  return {Error::Kind::kInternal, what + ": " + std::generic_category().message(code) + todo};
}

std::string Printable(std::string_view text) {
  std::string printable(text.substr(0, 80));
  for (char& c : printable) {
    if (static_cast<unsigned char>(c) < 32 || c == 127) c = '?';
  }
  return printable;
}

}  // namespace tern
