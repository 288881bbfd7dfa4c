// Calls of functions in a model's text.
#ifndef TERN_ENGINE_TOOL_CALLS_H_
#define TERN_ENGINE_TOOL_CALLS_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tern {

class Grammar;

struct ToolCall {
  std::string name;
  std::string arguments;  // a JSON object
};

// What may be called. Names are letters, digits, _ and -.
struct ToolSignature {
  std::string name;
  std::string parameters;  // the JSON schema of the arguments
};

// How a model writes calls.
enum class ToolCallForm {
  // As the Hermes models, and Qwen's after them: an object with name and arguments between
  // <tool_call> and </tool_call>, anywhere in the text, also several.
  kMarked,
  // As Llama 3.1: an object with name and parameters, which is the whole text.
  kWhole,
};

// Texts that are one call, or several where asked for and the form has them, each on lines of its
// own. Throws as AddJsonSchema does, with `tools` not empty.
Grammar ToolCallGrammar(ToolCallForm form, std::span<const ToolSignature> tools, bool several);

// Takes a growing text apart.
class ToolCallReader {
 public:
  // Calls of other functions stay text.
  ToolCallReader(ToolCallForm form, std::vector<std::string> names)
      : form_(form), names_(std::move(names)) {}
  // The text goes on: returns what of it is certainly no call.
  std::string Feed(std::string_view text);
  struct Rest {
    std::string text;
    std::vector<ToolCall> calls;
  };
  // The text has ended: the calls, and what was held back and is none.
  Rest Finish();

 private:
  Rest FinishMarked();
  Rest FinishWhole();

  const ToolCallForm form_;
  const std::vector<std::string> names_;
  std::string held_;      // from what may be the first call's begin on
  bool no_call_ = false;  // kWhole: the text began as no call does
};

}  // namespace tern

#endif  // TERN_ENGINE_TOOL_CALLS_H_
