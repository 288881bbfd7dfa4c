// JSON bodies to requests. Pure: no model, no network.
#ifndef TERN_SERVER_REQUEST_CODEC_H_
#define TERN_SERVER_REQUEST_CODEC_H_

#include <string_view>

#include "server/api_types.h"

namespace tern {

// Reads the body of POST /v1/completions or /v1/chat/completions. Fields of the API that ask for
// something this server does not do are errors; fields that it does not know are ignored. Throws
// RequestError (400) naming the field.
ApiRequest ParseRequest(Dialect dialect, std::string_view body);

}  // namespace tern

#endif  // TERN_SERVER_REQUEST_CODEC_H_
