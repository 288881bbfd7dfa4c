// What a grammar costs beside the passes of a model, as JSON on stdout: with Llama 3's vocabulary
// where ../shared has it, else made-up words. Not a test.
//   grammar_bench
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "engine/bpe_tokenizer.h"
#include "engine/json_schema.h"
#include "engine/synthetic_tokenizer.h"
#include "engine/token_grammar.h"
#include "tests/bench/stopwatch.h"
#include "tests/support/json_schemas.h"
#include "tests/support/shared_vectors.h"

namespace {

using namespace tern;
using Clock = std::chrono::steady_clock;

double MicrosecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// A record as programs ask for it; what follows the schema's shape, a model would write.
constexpr const char* kRecord = R"({"type":"object","properties":{
  "name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
  "email":{"anyOf":[{"type":"string"},{"type":"null"}]},
  "tags":{"type":"array","items":{"type":"string"}},
  "address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}},
             "required":["street","city"],"additionalProperties":false}},
  "required":["name","age","email","tags","address"],"additionalProperties":false})";
constexpr const char* kText =
    R"({"name": "Ada Lovelace", "age": 36, "email": null, "tags": ["mathematics", "the first program", "England"], "address": {"street": "12 St James's Square, Westminster", "city": "London"}})";

// Microseconds of each step of writing kText in tokens: finding what is allowed, and going on.
std::vector<double> Steps(const std::shared_ptr<const TokenGrammar>& grammar,
                          const std::vector<TokenId>& tokens) {
  GrammarText text(grammar);
  std::vector<double> steps;
  for (const TokenId token : tokens) {
    const Clock::time_point start = Clock::now();
    if (!text.Allowed().Has(token)) std::fprintf(stderr, "token %d is not allowed\n", token);
    text.Append(token);
    steps.push_back(MicrosecondsSince(start));
  }
  return steps;
}

void Print(const char* name, std::vector<double> steps) {
  double sum = 0.0;
  for (const double step : steps) sum += step;
  std::ranges::sort(steps);
  std::printf(", \"%s\": {\"mean_us\": %.1f, \"median_us\": %.1f, \"most_us\": %.1f}", name,
              sum / static_cast<double>(steps.size()), steps[steps.size() / 2], steps.back());
}

}  // namespace

int main() {
  ModelConfig config;
  config.vocab_size = 128256;
  config.bos_token_id = 128000;
  config.eos_token_ids = {128001};
  const bool real = !test::SharedVector("llama3-tiktoken.model").empty();
  const auto tokenizer =
      MakeBpeTokenizer(real ? test::Llama3Vocabulary() : MakeSyntheticTokenizer(config));
  const std::vector<TokenId> tokens = tokenizer->Encode(kText);
  Clock::time_point start = Clock::now();
  const auto trie =
      std::make_shared<TokenTrie>(*tokenizer, config.eos_token_ids, config.vocab_size);
  std::printf("{\"vocabulary\": \"%s\", \"trie_nodes\": %zu, \"trie_us\": %.0f",
              real ? "llama 3" : "made up", trie->nodes().size(), MicrosecondsSince(start));
  std::printf(", \"schema_us\": %.0f, \"tokens\": %zu",
              Microseconds([] { JsonSchemaGrammar(kRecord); }), tokens.size());
  for (const char* schema : {kRecord, "{}"}) {
    const auto grammar = std::make_shared<TokenGrammar>(JsonSchemaGrammar(schema), trie);
    const std::string name = schema == kRecord ? "schema" : "any";
    Print((name + "_first_text").c_str(), Steps(grammar, tokens));
    Print((name + "_next_text").c_str(), Steps(grammar, tokens));
  }
  const auto grammar = std::make_shared<TokenGrammar>(JsonSchemaGrammar(kRecord), trie);
  GrammarText text(grammar);
  std::vector<float> logits(static_cast<size_t>(config.vocab_size));
  const TokenMask& allowed = text.Allowed();
  std::printf(", \"mask_us\": %.1f}\n", Microseconds([&] { allowed.Forbid(logits); }));
  return 0;
}
