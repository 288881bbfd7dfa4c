// The fields of a chat request that are about functions to call.
#ifndef TERN_SERVER_TOOL_FIELDS_H_
#define TERN_SERVER_TOOL_FIELDS_H_

#include <string>
#include <string_view>
#include <vector>

#include "engine/tool_calls.h"
#include "server/api_types.h"
#include "server/json_fields.h"

namespace tern {

// tools, tool_choice and parallel_tool_calls. `body` is the text of `fields`. Throws RequestError
// (400) naming the field.
ToolRequest ParseTools(const JsonFields& fields, std::string_view body);

// The calls of an assistant's message, their arguments as Python's json.dumps writes them.
std::vector<ToolCall> ParseToolCalls(const JsonFields& message);

}  // namespace tern

#endif  // TERN_SERVER_TOOL_FIELDS_H_
