#include "tools/output_guard.h"

#include <filesystem>
#include <system_error>

#include "engine/error.h"
#include "engine/token_file.h"

namespace tern {

namespace fs = std::filesystem;

void RequireNotInput(const std::string& out, const std::vector<std::string>& inputs,
                     std::string_view option) {
  std::error_code ignored;
  for (const std::string& input : inputs) {
    if (fs::equivalent(out, input, ignored))
      throw InvalidArgument(out + ": is also the input; give another " + std::string(option));
  }
}

void RequireTokenFileOrNone(const std::string& out) {
  std::error_code ignored;
  if (!fs::is_regular_file(out, ignored) || IsTokenFileOrEmpty(out)) return;
  throw InvalidArgument(out +
                        ": exists and is not a packed token file; remove it or write elsewhere");
}

}  // namespace tern
