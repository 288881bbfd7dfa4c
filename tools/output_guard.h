// Keeps a command from writing over what its user did not mean: `--out *.txt` names the first text
// as the output.
#ifndef TERN_TOOLS_OUTPUT_GUARD_H_
#define TERN_TOOLS_OUTPUT_GUARD_H_

#include <string>
#include <string_view>
#include <vector>

namespace tern {

// Throws kInvalidArgument where `out` is one of `inputs`, by whatever path; the message names
// `option`.
void RequireNotInput(const std::string& out, const std::vector<std::string>& inputs,
                     std::string_view option = "--out");

// Throws kInvalidArgument where `input` is the folder `out` that the command fills, or lies in it,
// and so would change while the run that began with it goes on. An empty path is no path.
void RequireOutside(const std::string& out, const std::string& input,
                    std::string_view input_option);

// Throws kInvalidArgument where `out` is a file that is neither empty nor a packed token file.
void RequireTokenFileOrNone(const std::string& out);

}  // namespace tern

#endif  // TERN_TOOLS_OUTPUT_GUARD_H_
