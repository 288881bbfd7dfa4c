#include "engine/tokenizer_train.h"

#include <sentencepiece_trainer.h>

#include <unordered_map>

#include "engine/error.h"

namespace tern {
namespace {

class LineIterator final : public sentencepiece::SentenceIterator {
 public:
  explicit LineIterator(const LineSource& next_line) : next_line_(next_line) { Next(); }
  bool done() const override { return done_; }
  void Next() override {
    std::string_view line;
    done_ = !next_line_(line);
    line_.assign(line);
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const LineSource& next_line_;
  std::string line_;
  bool done_ = false;
};

}  // namespace

std::string TrainTokenizer(const TokenizerTrainOptions& options, const LineSource& next_line) {
  const std::unordered_map<std::string, std::string> arguments = {
      {"model_type", options.bpe ? "bpe" : "unigram"},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"character_coverage", std::to_string(options.character_coverage)},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"split_digits", "true"},
      {"user_defined_symbols", "\n"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "-1"},
      {"max_sentence_length", "1048576"},  // bytes; longer lines are left out
      {"shuffle_input_sentence", "false"},
      {"num_threads", "1"},  // sums per thread would make scores depend on their number
      {"minloglevel", "3"},
  };
  LineIterator lines(next_line);
  std::string serialized;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &lines, &serialized);
  if (!status.ok()) {
    // The library's text begins with its source line in [brackets] and may tell the largest size
    // possible.
    const std::string reason = status.ToString();
    const size_t end = reason.rfind("] ");
    throw InvalidArgument(
        "cannot train a tokenizer with vocabulary " + std::to_string(options.vocab_size) +
        " on this text: " + (end == std::string::npos ? reason : reason.substr(end + 2)));
  }
  return serialized;
}

}  // namespace tern
