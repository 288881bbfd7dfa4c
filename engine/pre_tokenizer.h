// Cuts a text into the pieces that byte-pair merges never cross, as the pre-tokenizers of Hugging
// Face's `tokenizers` do.
#ifndef TERN_ENGINE_PRE_TOKENIZER_H_
#define TERN_ENGINE_PRE_TOKENIZER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tern {

// One pass over every piece of the pass before it. What lies between two matches is a stretch too.
struct SplitStage {
  enum class Behaviour {
    kIsolated,            // every match and every stretch between them becomes a piece
    kMergedWithPrevious,  // a match joins the stretch before it
    kMergedWithNext,      // a match joins the stretch behind it
    kContiguous,          // neighbouring matches become one piece
  };
  std::string pattern;  // a regular expression, in the syntax of the tokenizer files
  Behaviour behaviour = Behaviour::kIsolated;
  bool invert = false;  // matches and stretches between them change parts
  // The pattern sees bytes spelled as in byte_alphabet.h: stages behind a "ByteLevel" in the file.
  bool on_bytes = false;
  friend bool operator==(const SplitStage&, const SplitStage&) = default;
};

// GPT-2's pattern, which a ByteLevel pre-tokenizer applies.
extern const char* const kGpt2Pattern;
// A character of punctuation: of ASCII's and of Unicode's, as `tokenizers` has it.
extern const char* const kPunctuationPattern;

// Thread-safe.
class PreTokenizer {
 public:
  // `where` begins the messages of errors. Throws kUnsupported for a pattern that does not compile.
  PreTokenizer(const std::vector<SplitStage>& stages, const std::string& where);
  PreTokenizer(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Views into `text`, which must be valid UTF-8; in order, none empty, together all of it. Throws
  // kUnsupported where a pattern needs more steps than it is granted (many more than bytes).
  std::vector<std::string_view> Split(std::string_view text) const;

 private:
  class Stage;
  std::vector<Stage> stages_;
};

}  // namespace tern

#endif  // TERN_ENGINE_PRE_TOKENIZER_H_
