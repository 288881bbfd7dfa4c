#include "tools/documents.h"

#include <algorithm>

namespace tern {

std::vector<Document> SplitDocuments(std::string_view file, std::string_view separator) {
  std::vector<Document> documents;
  size_t begin = 0;
  for (size_t from = 0; !separator.empty();) {
    const size_t at = file.find(separator, from);
    if (at == std::string_view::npos) break;
    const size_t end = at + separator.size();
    from = end;
    const bool starts_line = at == 0 || file[at - 1] == '\n';
    const bool ends_line = end == file.size() || file[end] == '\n';
    if (!starts_line || !ends_line) continue;
    if (at == begin) {
      documents.push_back({{}, Document::End::kBareLine});
    } else {
      documents.push_back({file.substr(begin, at - 1 - begin), Document::End::kLine});
    }
    from = begin = std::min(end + 1, file.size());
  }
  if (begin < file.size()) documents.push_back({file.substr(begin), Document::End::kNone});
  return documents;
}

}  // namespace tern
