#include "tools/text_output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "server/response_codec.h"
#include "tools/report.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

// The text one token adds; bytes that are not UTF-8 alone are replaced when the JSON is written.
std::string PieceText(const Tokenizer& tokenizer, TokenId token) {
  return token < tokenizer.vocab_size() ? std::string(tokenizer.PieceBytes(token)) : std::string();
}

Json LogprobJson(const Tokenizer& tokenizer, const TokenLogprob& entry) {
  return {{"id", entry.token},
          {"token", PieceText(tokenizer, entry.token)},
          {"logprob", entry.logprob}};
}

Json LogprobsJson(const Tokenizer& tokenizer, const GenerationResult& result, int32_t top_count) {
  Json list = Json::array();
  for (size_t i = 0; i < result.token_ids.size(); ++i) {
    Json entry = LogprobJson(tokenizer, {result.token_ids[i], result.logprobs[i]});
    Json& top = entry["top_logprobs"] = Json::array();
    for (size_t j = 0; j < static_cast<size_t>(top_count); ++j) {
      top.push_back(
          LogprobJson(tokenizer, result.top_logprobs[i * static_cast<size_t>(top_count) + j]));
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace

void PrintPiece(std::string_view piece) {
  if (std::fwrite(piece.data(), 1, piece.size(), stdout) == piece.size() &&
      std::fflush(stdout) == 0) {
    return;
  }
  throw std::runtime_error("stdout: cannot write the text: " + std::string(std::strerror(errno)) +
                           "; free some space or write elsewhere");
}

void PrintSummary(const GenerationResult& result) {
  const Timings& t = result.timings;
  std::fprintf(stderr, "%d prompt tokens at %.1f/s, %zu tokens at %.1f/s (%s), draft %s",
               t.prompt_tokens, t.prompt_tokens_per_second(), result.token_ids.size(),
               t.decode_tokens_per_second(), std::string(ToString(result.finish_reason)).c_str(),
               t.draft_mode.c_str());
  if (t.verify_steps > 0)
    std::fprintf(stderr, ", %.2f tokens per verify step", t.acceptance_length());
  if (!t.lossy.empty()) std::fprintf(stderr, ", LOSSY: %s", t.lossy.c_str());
  if (!t.draft_reason.empty()) std::fprintf(stderr, " (%s)", t.draft_reason.c_str());
  std::fputc('\n', stderr);
}

Json GenerationJson(const Tokenizer& tokenizer, const GenerationOptions& options,
                    const GenerationResult& result) {
  const size_t completion = result.token_ids.size();
  const size_t prompt = static_cast<size_t>(result.timings.prompt_tokens);
  Json json = {{"text", result.text},
               {"token_ids", result.token_ids},
               {"finish_reason", ToString(result.finish_reason)},
               {"usage",
                {{"prompt_tokens", prompt},
                 {"completion_tokens", completion},
                 {"total_tokens", prompt + completion}}},
               {"timings", TimingsJson(result.timings)},
               {"memory", {{"peak_resident_mb", PeakMemoryMb()}}},
               {"peak_memory_mb", PeakMemoryMb()}};
  if (options.logprobs >= 0) json["logprobs"] = LogprobsJson(tokenizer, result, options.logprobs);
  return json;
}

}  // namespace tern
