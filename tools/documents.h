// Text files that hold many documents, each ended by a line that is the separator.
#ifndef TERN_TOOLS_DOCUMENTS_H_
#define TERN_TOOLS_DOCUMENTS_H_

#include <string>
#include <string_view>
#include <vector>

namespace tern {

// The line that ends a document where nothing else is said.
inline constexpr std::string_view kDocumentSeparator = "<|endoftext|>";

struct Document {
  std::string_view text;
  // What ended it. kLine: "\n" + separator + "\n". kBareLine: separator + "\n" with no line before
  // it (at the start of the file or behind another separator; `text` is then empty). kNone: the end
  // of the file.
  enum class End { kLine, kBareLine, kNone } end = End::kNone;
};

// Cuts `file` at its separator lines; no document for an empty rest. Views into `file`. An empty
// separator makes the whole file one document. The last line of the file may be a separator without
// its newline.
std::vector<Document> SplitDocuments(std::string_view file, std::string_view separator);

}  // namespace tern

#endif  // TERN_TOOLS_DOCUMENTS_H_
