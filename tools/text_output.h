// How commands that generate print what they made.
#ifndef TERN_TOOLS_TEXT_OUTPUT_H_
#define TERN_TOOLS_TEXT_OUTPUT_H_

#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/generation_options.h"
#include "engine/generation_result.h"
#include "engine/tokenizer.h"

namespace tern {

// Text on stdout, as it comes. Throws where stdout does not take it: a full disk ends the work at
// once.
void PrintPiece(std::string_view piece);

// One line on stderr: tokens, speed, and how drafting went.
void PrintSummary(const GenerationResult& result);

// The object that --json prints, of bytes that need not be UTF-8.
nlohmann::ordered_json GenerationJson(const Tokenizer& tokenizer, const GenerationOptions& options,
                                      const GenerationResult& result);

}  // namespace tern

#endif  // TERN_TOOLS_TEXT_OUTPUT_H_
