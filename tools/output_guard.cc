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

void RequireOutside(const std::string& out, const std::string& input,
                    std::string_view input_option) {
  if (out.empty() || input.empty()) return;
  std::error_code ignored;
  fs::path at = fs::weakly_canonical(fs::absolute(input, ignored), ignored);
  for (; at.has_relative_path(); at = at.parent_path()) {
    if (fs::equivalent(out, at, ignored)) {
      throw InvalidArgument(std::string(input_option) + ": " + input + " lies in --out " + out +
                            ", which this command writes; give another --out");
    }
  }
}

void RequireTokenFileOrNone(const std::string& out) {
  std::error_code ignored;
  if (!fs::is_regular_file(out, ignored) || IsTokenFileOrEmpty(out)) return;
  throw InvalidArgument(out +
                        ": exists and is not a packed token file; remove it or write elsewhere");
}

}  // namespace tern
