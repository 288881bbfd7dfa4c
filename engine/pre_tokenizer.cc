#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/pre_tokenizer.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/byte_alphabet.h"
#include "engine/error.h"
#include "engine/utf8.h"

namespace tern {

const char* const kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char* const kPunctuationPattern = "[!-/:-@\\[-`{-~\\p{P}]";

namespace {

using Behaviour = SplitStage::Behaviour;

// Unicode's White_Space, which \s means in tokenizer files. PCRE2's \s has U+180E besides.
constexpr std::string_view kSpaces =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";

std::string ToPcre2(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c == '\\' && at + 1 < pattern.size()) {
      const char next = pattern[++at];
      if (next == 's') {
        out.append(in_class ? "" : "[").append(kSpaces).append(in_class ? "" : "]");
      } else if (next == 'S' && !in_class) {
        out.append("[^").append(kSpaces).append("]");
      } else {
        out.append({c, next});
      }
      continue;
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

std::string Pcre2Message(int code) {
  PCRE2_UCHAR text[160] = {};
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct ContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

// What one caller needs to run a compiled pattern.
struct Matcher {
  std::unique_ptr<pcre2_match_data, MatchDeleter> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, ContextDeleter> context{pcre2_match_context_create(nullptr)};

  explicit Matcher(size_t text_bytes) {
    // Known patterns go over a long run of spaces a few times at the place where it begins.
    const size_t steps = std::min<size_t>(10'000'000 + 16 * text_bytes, UINT32_MAX);
    pcre2_set_match_limit(context.get(), static_cast<uint32_t>(steps));
  }
};

// A match or a stretch between matches, then a piece: ends where the next begins.
struct Stretch {
  size_t end;
  bool is_match;
};

// Joins stretches into pieces; their ends remain.
void Join(Behaviour behaviour, std::vector<Stretch>& stretches) {
  if (behaviour == Behaviour::kIsolated) return;
  std::vector<Stretch> joined;
  for (size_t i = 0; i < stretches.size(); ++i) {
    const Stretch& stretch = stretches[i];
    bool join = false;
    if (i > 0) {
      const bool before = stretches[i - 1].is_match;
      if (behaviour == Behaviour::kContiguous) join = before == stretch.is_match;
      if (behaviour == Behaviour::kMergedWithPrevious) join = stretch.is_match && !before;
      if (behaviour == Behaviour::kMergedWithNext) join = before && !stretch.is_match;
    }
    if (join) {
      joined.back() = stretch;
    } else {
      joined.push_back(stretch);
    }
  }
  stretches = std::move(joined);
}

}  // namespace

class PreTokenizer::Stage {
 public:
  Stage(const SplitStage& stage, const std::string& where) : stage_(stage), where_(where) {
    const std::string pattern = ToPcre2(stage.pattern);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    if (code_ == nullptr) {
      throw Unsupported(where + ": pattern \"" + stage.pattern + "\": " + Pcre2Message(error));
    }
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without it matching is only slower
  }

  // Appends the pieces of `text`, which is not empty.
  void Split(std::string_view text, const Matcher& matcher,
             std::vector<std::string_view>& pieces) const {
    std::string spelled;
    if (stage_.on_bytes) spelled = SpellBytes(text);
    const std::string_view subject = stage_.on_bytes ? spelled : text;
    std::vector<Stretch> stretches = Match(subject, matcher);
    Join(stage_.behaviour, stretches);
    size_t begin = 0, seen = 0, subject_at = 0;
    for (const Stretch& stretch : stretches) {
      size_t end = stretch.end;
      if (stage_.on_bytes) {  // a character of the spelling is a byte of the text
        for (; subject_at < stretch.end; ++subject_at) {
          seen += (static_cast<uint8_t>(subject[subject_at]) & 0xC0) != 0x80;
        }
        end = seen;
      }
      pieces.push_back(text.substr(begin, end - begin));
      begin = end;
    }
  }

 private:
  std::vector<Stretch> Match(std::string_view text, const Matcher& matcher) const {
    std::vector<Stretch> stretches;
    size_t done = 0, from = 0;
    const auto add = [&](size_t end, bool is_match) {
      if (end > done) stretches.push_back({end, is_match != stage_.invert});
      done = end;
    };
    while (from < text.size()) {
      const int count =
          pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                      PCRE2_NO_UTF_CHECK, matcher.data.get(), matcher.context.get());
      if (count == PCRE2_ERROR_NOMATCH) break;
      if (count < 0) {
        throw Unsupported(where_ + ": pattern \"" + stage_.pattern + "\" on a text of " +
                          std::to_string(text.size()) + " bytes: " + Pcre2Message(count));
      }
      const size_t* span = pcre2_get_ovector_pointer(matcher.data.get());
      if (span[1] <= std::max(done, span[0])) {  // empty: look on behind the next character
        const size_t at = std::max(from, span[1]);
        from = at + std::max<size_t>(Utf8Length(text.substr(at)), 1);
        continue;
      }
      add(std::max(span[0], done), false);
      add(span[1], true);
      from = span[1];
    }
    add(text.size(), false);
    return stretches;
  }

  SplitStage stage_;
  std::string where_;
  std::unique_ptr<pcre2_code, CodeDeleter> code_;
};

PreTokenizer::PreTokenizer(const std::vector<SplitStage>& stages, const std::string& where) {
  for (const SplitStage& stage : stages) stages_.emplace_back(stage, where);
}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

std::vector<std::string_view> PreTokenizer::Split(std::string_view text) const {
  std::vector<std::string_view> pieces, next;
  if (!text.empty()) pieces.push_back(text);
  const Matcher matcher(text.size());
  for (const Stage& stage : stages_) {
    next.clear();
    for (const std::string_view piece : pieces) stage.Split(piece, matcher, next);
    pieces.swap(next);
  }
  return pieces;
}

}  // namespace tern
