// What a request wants its text to be: the field response_format.
#ifndef TERN_SERVER_OUTPUT_FORMAT_H_
#define TERN_SERVER_OUTPUT_FORMAT_H_

#include <string_view>

#include "server/json_fields.h"

namespace tern {

// `body` is the text of `fields`. Throws RequestError (400) naming the field. Whether the schema is
// one that this server can follow, GrammarStore says.
OutputFormat ParseOutputFormat(const JsonFields& fields, std::string_view body);

}  // namespace tern

#endif  // TERN_SERVER_OUTPUT_FORMAT_H_
